"""Read the key QUEUE: how the web processes queue tasks for a worker."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from igny8_backup.conf.model import SETTING
from igny8_backup.conf.parser import Reader

CELERY = "celery"
"""The value of ``QUEUE`` for Celery. Every other value is the alias of a backend in Django's ``TASKS``."""


def read_queue(reader: Reader) -> str:
    """Return the value of ``QUEUE``: ``celery``, the alias of a backend, or empty if it is not set."""
    name: str = reader.take("QUEUE", str, "")
    backends = getattr(settings, "TASKS", None) or {}
    if name in ("", CELERY) or name in backends:
        return name
    known = ", ".join(map(repr, [CELERY, *backends]))
    reader.wrong(
        "E061",
        f"{SETTING}['QUEUE'] is {name!r}, but TASKS has no such backend.",
        f"Name one of these: {known}.",
    )
    return ""


def configured_queue() -> str:
    """Return the value of ``QUEUE`` as it is in the settings, whether or not other settings are wrong."""
    value = getattr(settings, SETTING, None)
    name = value.get("QUEUE") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) else ""
