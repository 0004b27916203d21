"""Remember, on this host, the storage of its backups and the newest backup that it made there.

A disk that is not mounted, or a wrong bucket, looks like a storage without backups. This host can tell the
difference: it remembers its newest backup, and the id in the marker object of the storage. The memory is a
private file in ``STATE_DIR`` for each storage and ``PREFIX``. A host that has lost this file reports no lost
backups.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from igny8_backup.catalog.failures import of_one_object
from igny8_backup.common.filesystem import replace_file
from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.errors import BackupError, FilesError, IntegrityError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import SCHEMA as MARKER_SCHEMA
from igny8_backup.formats.documents.annotations import StorageMarker
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.expected_hosts import undeclared_note
from igny8_backup.operations.history.presence import is_lost
from igny8_backup.store import MissingObjectError, ObjectExistsError
from igny8_backup.streams.pipeline import from_bytes

SCHEMA = 1
_FOLDER = "storages"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a host remembers of one storage.

    ``storage`` describes the storage for messages. ``last`` is the id of the newest backup that this host
    made there, or empty. ``missing`` are the ids of earlier backups of this host that are gone, and whose
    loss nobody has accepted yet. ``marker`` is the id in the marker object of the storage, or empty.
    """

    schema: int
    storage: str
    last: str = ""
    missing: tuple[str, ...] = ()
    marker: str = ""


@dataclass(frozen=True, kw_only=True)
class LostBackup:
    """A backup of this host that is gone from storage, although nobody removed it; ``text`` says so."""

    id: str
    text: str


def remembers(context: BackupContext) -> bool:
    """Return whether this host remembers the present storage, or a backup that it made into another one."""
    return _read(_file(context)) is not None or _of_another_storage(context) is not None


def find_lost(context: BackupContext) -> tuple[LostBackup, ...]:
    """Return the backups that this host remembers and that are gone from storage.

    A backup whose loss somebody has accepted is left out. If the newest backup is there and no earlier loss
    is remembered, this sends one request to the storage. Raises ``StorageError``.
    """
    memory = _read(_file(context))
    remembered = memory or _of_another_storage(context)
    if remembered is None:
        return ()
    ids = dict.fromkeys(
        filter(None, (*remembered.missing, remembered.last) if memory else (remembered.last,))
    )
    gone = [backup_id for backup_id in ids if _is_gone(context, backup_id)]
    if not gone:
        return ()
    reason = _reason(context, remembered, changed=memory is None)
    return tuple(LostBackup(id=backup_id, text=_text(context, backup_id, reason)) for backup_id in gone)


def warn_of_lost(context: BackupContext) -> tuple[LostBackup, ...]:
    """Show a warning for each backup that :func:`find_lost` returns, and return these backups.

    A note is also shown if ``HOSTS`` does not name this host, because missing backups of such a host are not
    reported.
    """
    if note := undeclared_note(context.config):
        context.progress.note(note)
    lost = find_lost(context)
    for item in lost:
        context.progress.note(f"WARNING: {item.text}")
    return lost


def remember(context: BackupContext, backup_id: str, lost: Sequence[LostBackup]) -> None:
    """Remember the new backup ``backup_id`` of this host, and the backups ``lost``.

    Writes the marker object if the storage has none. Failures are shown as notes and not raised, because the
    backup itself is complete.
    """
    known = _read(_file(context))
    # While backups are missing, this may be the wrong storage, so the marker of the right one is kept.
    marker = known.marker if known else ""
    try:
        if not (marker or lost):
            marker = _ensure_marker(context)
        _write(
            context,
            Memory(
                schema=SCHEMA,
                storage=context.store.describe(),
                last=backup_id,
                missing=tuple(item.id for item in lost),
                marker=marker,
            ),
        )
    except (BackupError, OSError) as error:
        context.progress.note(
            f"The backup is complete, but its id could not be saved in {context.config.state_dir}, so a loss"
            f" of the backup would not be noticed here: {error}"
        )


def forget(context: BackupContext, backup_ids: Iterable[str]) -> tuple[str, ...]:
    """Stop reporting the loss of the backups ``backup_ids``; return the ids that this host had remembered.

    Raises ``FilesError`` if the memory cannot be written.
    """
    memory = _read(_file(context))
    known = memory or _of_another_storage(context)
    if known is None:
        return ()
    remembered = {*known.missing, known.last} if memory else {known.last}
    accepted = tuple(backup_id for backup_id in backup_ids if backup_id in remembered)
    if accepted:
        base = memory or Memory(schema=SCHEMA, storage=context.store.describe())
        missing = tuple(item for item in base.missing if item not in accepted)
        # A storage that was accepted gets its own marker with the next backup.
        marker = base.marker if missing else ""
        last = "" if base.last in accepted else base.last
        try:
            _write(context, replace(base, missing=missing, last=last, marker=marker))
        except OSError as error:
            what = (
                f"The list of this host's backups in {context.config.state_dir} cannot be written:"
                f" {error.strerror}."
            )
            hint = "Set IGNY8_BACKUP['STATE_DIR'] to a private folder on a persistent volume."
            raise FilesError(what, unchanged="Nothing was changed.", hint=hint) from None
    return accepted


def _is_gone(context: BackupContext, backup_id: str) -> bool:
    folder = context.store.local_path()
    if folder is not None and not folder.exists():
        return True  # a folder that is not there would raise
    return is_lost(context, backup_id, context.config.host)


def _reason(context: BackupContext, memory: Memory, *, changed: bool) -> str:
    """Return the likely cause of the loss of a backup, as a clause for a message.

    ``changed``: ``memory`` is about a storage that the settings no longer name. If not, the marker object of
    the storage is compared with the marker in ``memory``.
    """
    if changed:
        return f"this host stored it in {memory.storage}, which the settings no longer name"
    marker = _read_marker(context)
    if memory.marker and not marker:
        return "this storage is not the one of earlier backups, or it is not mounted or was emptied"
    if memory.marker and marker != memory.marker:
        return "this is another storage than that of earlier backups"
    return "prune_backups did not remove it"


def _text(context: BackupContext, backup_id: str, reason: str) -> str:
    made = f"{keys.id_time(backup_id):%Y-%m-%d %H:%M} UTC"
    return (
        f"Backup {backup_id}, which this host made at {made}, is gone from {context.store.describe()}:"
        f' {reason}. Mount the storage or correct STORAGES["dbbackup"]. If this is intended, run:'
        f" accept_backup {backup_id} --lost"
    )


def _file(context: BackupContext) -> Path:
    digest = hashlib.sha256(context.store.identity().encode()).hexdigest()[:16]
    return context.config.state_dir / _FOLDER / f"{digest}.json"


def _of_another_storage(context: BackupContext) -> Memory | None:
    """Return what this host remembers of the storage into which it made its newest backup.

    Returns ``None`` if this host remembers no backup. Returns ``None`` too if the present storage has the
    marker of a remembered storage: the present one is then the same storage at another address, or a copy.
    Also returns ``None`` if ``context`` is not that of the main storage.
    """
    if context.alias != STORAGE_ALIAS:
        return None
    folder = context.config.state_dir / _FOLDER
    found = [memory for path in folder.glob("*.json") if (memory := _read(path)) and memory.last]
    if not found or _read_marker(context) in {memory.marker for memory in found if memory.marker}:
        return None
    return max(found, key=lambda memory: memory.last)


def _read(path: Path) -> Memory | None:
    """Read the file in which this host remembers a storage; ``None`` if it is missing or damaged."""
    try:
        memory = records.from_json(Memory, path.read_bytes(), name=str(path), schema=SCHEMA)
    except (OSError, IntegrityError):
        return None
    return memory if all(map(keys.is_id, filter(None, (memory.last, *memory.missing)))) else None


def _write(context: BackupContext, memory: Memory) -> None:
    replace_file(_file(context), records.to_json(memory))


def _read_marker(context: BackupContext) -> str:
    """Return the id in the marker object of the storage; empty if there is none."""
    folder = context.store.local_path()
    if folder is not None and not folder.exists():
        return ""
    try:
        data = context.store.read_small(keys.MARKER)
        return records.from_json(StorageMarker, data, name=keys.MARKER, schema=MARKER_SCHEMA).id
    except (MissingObjectError, IntegrityError):
        return ""
    except StorageError as error:
        of_one_object(context.store, error)
        return ""


def _ensure_marker(context: BackupContext) -> str:
    """Return the id in the marker object of the storage; write the marker if there is none."""
    if found := _read_marker(context):
        return found
    marker = StorageMarker(
        schema=MARKER_SCHEMA, id=secrets.token_hex(16), started=context.clock(), host=context.config.host
    )
    try:
        context.store.put(keys.MARKER, from_bytes(records.to_json(marker)))
    except ObjectExistsError:  # another host was faster, or the marker is damaged
        return _read_marker(context)
    return marker.id
