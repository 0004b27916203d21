"""Find out which objects cannot be deleted yet, because they are locked (S3 Object Lock)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from igny8_backup.common.humanize import count_in_words
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True, kw_only=True)
class LockedObject:
    """An object that cannot be deleted before ``until`` (UTC)."""

    key: str
    until: datetime


def locked_objects(context: BackupContext, names: Iterable[str]) -> tuple[LockedObject, ...]:
    """Return the objects among those with the keys ``names`` that are still locked. Raises ``StorageError``.

    Sends one request for each key if the storage can lock objects.
    """
    now = context.clock()
    found = ((name, context.store.locked_until(name)) for name in names)
    return tuple(LockedObject(key=name, until=until) for name, until in found if until and until > now)


def locked_manifests(context: BackupContext, backup_ids: Iterable[str]) -> tuple[LockedObject, ...]:
    """Return the locked manifests of these backups. A backup is kept while its manifest is locked."""
    return locked_objects(context, map(keys.manifest_key, backup_ids))


def locked_lines(locked: Collection[LockedObject]) -> Iterator[str]:
    """Yield a sentence for each backup whose manifest is locked, and one for all other locked objects."""
    orphans = []
    for item in locked:
        parsed = keys.parse(item.key)
        if parsed and parsed.kind == "manifest":
            yield f"LOCKED: backup {parsed.backup_id} can be removed from {_date(item.until)} on."
        else:
            orphans.append(item.until)
    if orphans:
        first, last = _date(min(orphans)), _date(max(orphans))
        count = count_in_words(len(orphans), "orphan")
        yield f"LOCKED: {count} cannot be deleted yet: the first from {first} on, the last from {last} on."


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
