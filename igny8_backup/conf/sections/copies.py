"""Read the key COPIES: the storages that keep copies of the backups."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.conf import settings

from igny8_backup.conf.model import SETTING, STORAGE_ALIAS, CopyTarget
from igny8_backup.conf.parser import Reader
from igny8_backup.conf.sections.signing import is_part
from igny8_backup.formats import keys
from igny8_backup.retention.rules import Policy

_HINT = (
    'Write {"offsite": {"storage": "offsite"}}, with an alias of STORAGES, and if wanted "retention" and'
    ' "parts".'
)


def read_copies(reader: Reader, retention: Policy) -> dict[str, CopyTarget]:
    """Return the copies by their names. ``retention`` is the policy of a copy that has none of its own."""
    found: dict[Any, Any] = reader.take("COPIES", dict, {})
    copies = {}
    for name, value in found.items():
        try:
            copies[str(name)] = _read_copy(name, value, retention)
        except ValueError as error:
            reader.wrong("E058", f"{SETTING}['COPIES'][{name!r}] cannot be used: {error}.", _HINT)
    storages = Counter(copy.storage for copy in copies.values())
    for alias in (alias for alias, count in storages.items() if count > 1):
        message = f"{SETTING}['COPIES'] names the storage {alias!r} twice."
        reader.wrong("E058", message, "Remove one of the two copies.")
    return copies


def _read_copy(name: Any, value: Any, retention: Policy) -> CopyTarget:
    if not (isinstance(name, str) and keys.is_name(name)):
        raise ValueError("its name is not made of letters, digits, - and _")
    if not isinstance(value, dict) or "storage" not in value:
        raise ValueError("it is not a dict with a storage")
    if unknown := sorted(map(str, value.keys() - {"storage", "retention", "parts"})):
        raise ValueError(f"it has the unknown key {unknown[0]!r}")
    alias = value["storage"]
    if alias == STORAGE_ALIAS:
        raise ValueError(f"its storage is {alias!r}, which has the backups themselves")
    if not isinstance(alias, str) or alias not in getattr(settings, "STORAGES", {}):
        raise ValueError(f"STORAGES has no {alias!r}")
    parts = value.get("parts", ())
    if not isinstance(parts, (list, tuple)) or not all(
        isinstance(one, str) and is_part(one) for one in parts
    ):
        raise ValueError("its parts are not a list of databases and trees")
    if "parts" in value and not parts:
        raise ValueError("its parts are empty: nothing would be copied")
    policy = value.get("retention")
    if policy is not None and not isinstance(policy, dict):
        raise ValueError("its retention is not a dict")
    return CopyTarget(
        name=name,
        storage=alias,
        retention=retention if policy is None else Policy.of(policy),
        parts=tuple(parts),
    )
