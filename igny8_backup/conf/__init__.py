"""Settings -> one frozen, typed ``Config``; read when first asked for, read again when settings change.

``problems()`` says all that is wrong with the settings, for the system checks; ``get_config()`` raises
:class:`ConfigurationError` with the same words.
"""

from __future__ import annotations

import functools
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from igny8_backup.conf.build import read
from igny8_backup.conf.model import (
    MAX_AGE,
    SETTING,
    STORAGE_ALIAS,
    Config,
    ConfigurationError,
    Encryption,
    Limits,
    Problem,
)
from igny8_backup.conf.paths import home_dir, project_dir

__all__ = [
    "MAX_AGE",
    "SETTING",
    "STORAGE_ALIAS",
    "Config",
    "ConfigurationError",
    "Encryption",
    "Limits",
    "Problem",
    "get_config",
    "home_dir",
    "problems",
    "project_dir",
]


def get_config() -> Config:
    """The configuration. Raises :class:`ConfigurationError` naming each wrong setting and its fix."""
    config, found = _read()
    if config is None:
        text = " ".join(f"{problem.message} {problem.hint}" for problem in found)
        raise ConfigurationError(text, unchanged="Nothing was read or written.")
    return config


def problems() -> list[Problem]:
    """All that is wrong with ``settings.IGNY8_BACKUP`` by itself."""
    return list(_read()[1])


@functools.cache
def _read() -> tuple[Config | None, tuple[Problem, ...]]:
    return read(getattr(settings, SETTING, {}))


@receiver(setting_changed)
def _reset(**kwargs: Any) -> None:
    _read.cache_clear()
