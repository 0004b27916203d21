"""Choose the packs of older backups that a verification reads today: :func:`choose_older_packs`.

The newest copies are read by every verification. Each pack that only older backups need is read once in seven
days: on the day of the week to which its key belongs, or, if there was no verification on that day, by the
next verification. ``STATE_DIR`` has the day of the last verification of each storage.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext

SCHEMA = 1
DAYS = 7
"""Each pack is read once in so many days."""


@dataclass(frozen=True, kw_only=True)
class LastShare:
    """The ``day`` (1 is the first of January of year 1) of the last verification that read older packs."""

    schema: int
    day: int


def choose_older_packs(
    context: BackupContext, manifests: Iterable[Manifest], verified: Collection[str], today: int
) -> dict[str, frozenset[str]]:
    """Choose the packs and lists to read today; return their keys by the id of a backup.

    Of the backups that need a pack, the newest is named. ``manifests`` are sorted newest first. ``verified``
    are the ids of backups all of whose objects are read anyway. ``today`` is the number of the day. The share
    of a day that has passed without a verification is included, for up to seven days.
    """
    missed = min(max(today - _last_day(context, today), 1), DAYS)
    shares = {day % DAYS for day in range(today - missed + 1, today + 1)}
    needed: dict[str, str] = {}
    covered: set[str] = set()
    for manifest in manifests:
        packs = [item.key for item in manifest.objects() if item.key.startswith(keys.PACKS)]
        if manifest.id in verified:
            covered.update(packs)
        for key in packs:
            needed.setdefault(key, manifest.id)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for key, backup_id in needed.items():
        if key not in covered and _share_of(key) in shares:
            found[backup_id].add(key)
    return {backup_id: frozenset(found[backup_id]) for backup_id in sorted(found)}


def remember_share(context: BackupContext, today: int) -> None:
    """Record that the share of ``today`` was read. If that fails, the next verification reads it again."""
    with suppress(OSError):
        replace_file(_path(context), records.to_json(LastShare(schema=SCHEMA, day=today)))


def _share_of(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") % DAYS


def _last_day(context: BackupContext, today: int) -> int:
    path = _path(context)
    try:
        return records.from_json(LastShare, path.read_bytes(), name=str(path), schema=SCHEMA).day
    except (OSError, IntegrityError):
        return today - 1


def _path(context: BackupContext) -> Path:
    storage = f"{context.store.identity()} {context.store.prefix}"
    name = hashlib.sha256(storage.encode()).hexdigest()[:32]
    return context.config.state_dir / "older-packs" / f"{name}.json"
