"""Read the keys about the age of backups: RETENTION, MAX_AGE, MONITOR."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

from igny8_backup.conf.model import SETTING, Limits
from igny8_backup.conf.parser import Reader
from igny8_backup.retention import DEFAULT, Policy


def read_retention(reader: Reader) -> Policy:
    """Return the retention policy in ``RETENTION``, or the default policy."""
    if (found := reader.take("RETENTION", dict, None)) is None:
        return DEFAULT
    try:
        return Policy.of(found)
    except ValueError as error:
        reader.wrong(
            "E015",
            f"{SETTING}['RETENTION'] cannot be used: {error}.",
            'Write {"daily": 14, "weekly": 8}; "within" is a timedelta, the others are numbers.',
        )
        return DEFAULT


def read_max_age(reader: Reader) -> dict[str, timedelta | None]:
    """Return, by the name of a database or tree, the highest age of its newest copy; ``None`` is any age."""
    found: dict[Any, Any] = reader.take("MAX_AGE", dict, {})
    for name, age in found.items():
        if not (isinstance(name, str) and _is_age(age)):
            reader.wrong(
                "E016",
                f"{SETTING}['MAX_AGE'][{name!r}] is {age!r}, not a positive timedelta.",
                'Write {"logs": timedelta(days=8)}, or None for a part that is no longer backed up.',
            )
            return {}
    return found


def read_limits(reader: Reader) -> Limits:
    """Return how old the newest verification and the newest drill (practice restore) may be."""
    found: dict[Any, Any] = reader.take("MONITOR", dict, {})
    known = {item.name for item in fields(Limits)}
    for name, age in found.items():
        if name not in known or not _is_age(age):
            reader.wrong(
                "E026",
                f"{SETTING}['MONITOR'][{name!r}] is {age!r}, which is not allowed.",
                'Write {"verified": timedelta(days=9), "drilled": timedelta(days=35)}; None'
                " disables a check.",
            )
            return Limits()
    return Limits(**found)


def _is_age(age: Any) -> bool:
    return age is None or (type(age) is timedelta and age > timedelta())
