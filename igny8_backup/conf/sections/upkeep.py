"""Read the keys about the age and size of backups: RETENTION, MAX_AGE and others."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

from django.conf import settings

from igny8_backup.conf.model import SETTING, Limits
from igny8_backup.conf.parser import Reader
from igny8_backup.retention.rules import DEFAULT, Policy


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
    """Return, by the name of a database or tree, how old its newest copy may be; ``None`` allows any age."""
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


def read_shrink(reader: Reader) -> dict[str, float | None]:
    """Return, by the name of a database or tree, how small a copy may be, as a share of the copy before."""
    found: dict[Any, Any] = reader.take("SHRINK", dict, {})
    for name, share in found.items():
        if not (isinstance(name, str) and name and _is_share(share)):
            reader.wrong(
                "E028",
                f"{SETTING}['SHRINK'][{name!r}] is {share!r}, not a number from 0 to 1.",
                'Write {"uploads": 0.5}. With 0, only a copy that became empty is suspect; with None, no'
                " copy is suspect.",
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


def read_status_cache(reader: Reader) -> str:
    """Return the alias of the cache for the status of the backups; empty if ``STATUS_CACHE`` is not set."""
    alias: str | None = reader.take("STATUS_CACHE", str, None)
    if alias is None or alias in settings.CACHES:
        return alias or ""
    reader.wrong(
        "E060",
        f"{SETTING}['STATUS_CACHE'] is {alias!r}, but CACHES has no such cache.",
        f"Name one of CACHES: {', '.join(map(repr, settings.CACHES))}.",
    )
    return ""


def _is_share(share: Any) -> bool:
    return share is None or (type(share) in (int, float) and 0 <= share <= 1)


def _is_age(age: Any) -> bool:
    return age is None or (type(age) is timedelta and age > timedelta())


SLOWEST_RATE = 100_000
"""The lowest ``MAX_UPLOAD_RATE`` in bytes per second. At a lower one, blocks of 1 MiB would look stalled."""


def read_upload_rate(reader: Reader) -> int | None:
    """Return the bytes per second in ``MAX_UPLOAD_RATE``; ``None`` if there is no limit."""
    rate = reader.take_size("MAX_UPLOAD_RATE")
    if rate is None or rate >= SLOWEST_RATE:
        return rate
    reader.wrong(
        "E005",
        f"{SETTING}['MAX_UPLOAD_RATE'] is {rate} bytes per second, which is too slow.",
        f'Give at least {SLOWEST_RATE}, or a text such as "2MB".',
    )
    return None
