"""Read the key OBJECT_LOCK: how the objects of backups are locked in S3, for each storage."""

from __future__ import annotations

from typing import Any

from igny8_backup.conf.model import SETTING, STORAGE_ALIAS
from igny8_backup.conf.parser import Reader
from igny8_backup.formats.object_lock import LONGEST_DAYS, MODES, ObjectLock


def read_object_lock(reader: Reader) -> dict[str, ObjectLock]:
    """Return the lock of each storage by its alias in ``STORAGES``.

    A dict with ``mode`` and ``days`` is the lock of the storage of backups.
    """
    found: dict[Any, Any] = reader.take("OBJECT_LOCK", dict, {})
    by_alias = {STORAGE_ALIAS: found} if {"mode", "days"} & found.keys() else found
    locks = {}
    for alias, value in by_alias.items():
        where = f"{SETTING}['OBJECT_LOCK']" + (f"[{alias!r}]" if by_alias is found else "")
        try:
            locks[str(alias)] = _read_lock(value)
        except ValueError as error:
            reader.wrong("E044", f"{where} cannot be used: {error}.", _HINT)
    return locks


_HINT = 'Write {"mode": "GOVERNANCE", "days": 30}, or one such dict for each alias of STORAGES.'


def _read_lock(value: Any) -> ObjectLock:
    if not isinstance(value, dict) or value.keys() != {"mode", "days"}:
        raise ValueError("it is not a dict with mode and days")
    mode, days = value["mode"], value["days"]
    if mode not in MODES:
        raise ValueError(f"the mode is {mode!r}, not one of {', '.join(MODES)}")
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= LONGEST_DAYS:
        raise ValueError(f"days is {days!r}, not a number from 1 to {LONGEST_DAYS}")
    return ObjectLock(mode=mode, days=days)
