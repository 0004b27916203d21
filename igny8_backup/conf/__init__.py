"""Read the setting ``IGNY8_BACKUP`` into one frozen, typed ``Config``.

``get_config()`` returns the ``Config`` or raises :class:`ConfigurationError`; ``problems()`` lists what is
wrong with the setting, for the system checks. The setting is read on first use, and again after it changes.
This package imports ``formats``, ``signing``, ``retention``, ``common``, ``errors``, ``trees.scan.excludes``
and Django's settings.
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
    CopyTarget,
    Encryption,
    Limits,
    Problem,
)
from igny8_backup.conf.paths import home_dir, project_dir
from igny8_backup.conf.sections.queue import CELERY, configured_queue

__all__ = [
    "CELERY",
    "MAX_AGE",
    "SETTING",
    "STORAGE_ALIAS",
    "Config",
    "ConfigurationError",
    "CopyTarget",
    "Encryption",
    "Limits",
    "Problem",
    "configured_queue",
    "get_config",
    "home_dir",
    "problems",
    "project_dir",
]


def get_config() -> Config:
    """Return the configuration.

    Raises :class:`ConfigurationError` if settings are wrong; the message names each of them and its fix.
    """
    config, found = _read()
    if config is None:
        text = " ".join(f"{problem.message} {problem.hint}" for problem in found)
        raise ConfigurationError(text, unchanged="Nothing was read or written.")
    return config


def problems() -> list[Problem]:
    """Return every problem with ``settings.IGNY8_BACKUP``."""
    return list(_read()[1])


@functools.cache
def _read() -> tuple[Config | None, tuple[Problem, ...]]:
    return read(getattr(settings, SETTING, {}))


@receiver(setting_changed)
def _reset(**kwargs: Any) -> None:
    _read.cache_clear()
