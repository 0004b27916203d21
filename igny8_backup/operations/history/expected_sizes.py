"""Changes that a restore, an undo or a user announces to the next backup of this host.

A backed up copy of a database or tree is suspect if it is much smaller than the copy before, has lost
migrations or comes from another server: see :mod:`igny8_backup.standing`. A restore of an older or smaller
copy causes such changes, so it announces them. The announcement is kept in ``STATE_DIR/expected`` until the
next complete copy is backed up; the manifest of that backup then contains the announcement.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.comparison import Expected
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.context import BackupContext

RESTORE, UNDO = "restore", "undo"
"""The values of ``Expected.by`` that a restore and an undo write. An announced move has another value."""
_SCHEMA = 1


def sizes_of_copy(backup_id: str, part: DatabasePart | TreePart, *, known: bool = True) -> Expected:
    """Return the announcement of a restore of ``part`` from the backup ``backup_id``.

    ``known`` is false if the live data will not have the size recorded in the backup, for example because
    they are sanitized after the restore. The announcement then contains no size.
    """
    if not known:
        return Expected(by=RESTORE, backup_id=backup_id)
    if isinstance(part, TreePart):
        return Expected(by=RESTORE, backup_id=backup_id, bytes=part.bytes, files=part.files)
    return Expected(by=RESTORE, backup_id=backup_id, bytes=part.bytes, rows=part.rows)


def announce(context: BackupContext, kind: str, name: str, expected: Expected | None) -> None:
    """Store the announcement ``expected`` about the next copy of a database or tree; ``None`` stores nothing.

    If it cannot be stored, a note says so, because the next backup could then report a suspect copy.
    """
    if expected is None:
        return
    path = _path(context, kind, name)
    try:
        replace_file(path, records.to_json(expected))
    except OSError as error:
        context.progress.note(
            f"The new size of {name!r} could not be saved in {path}: {error.strerror}. If {name!r} is now"
            " smaller than in the last backup, the next backup reports it as suspect, although nothing is"
            " wrong. Accept that backup then: accept_backup."
        )


def announce_move(context: BackupContext, alias: str, expected: Expected) -> None:
    """Announce that a database moves to another server.

    An announcement that a restore or an undo has made is not replaced, because it allows more changes than
    that of a move. Raises ``FilesError`` if the announcement cannot be written.
    """
    before = announced(context, "database", alias)
    if before and before.by in (RESTORE, UNDO):
        return
    path = _path(context, "database", alias)
    try:
        replace_file(path, records.to_json(expected))
    except OSError as error:
        what = f"The move could not be announced in {path}: {error.strerror}."
        hint = "Set IGNY8_BACKUP['STATE_DIR'] to a private folder on a persistent volume."
        raise FilesError(what, hint=hint) from None


def announced(context: BackupContext, kind: str, name: str) -> Expected | None:
    """Return the announcement about the next copy of a database or tree; ``None`` if there is none."""
    path = _path(context, kind, name)
    try:
        return records.from_json(Expected, path.read_bytes(), name=str(path), schema=_SCHEMA)
    except (OSError, IntegrityError):
        return None


def forget(context: BackupContext, kind: str, name: str) -> None:
    """Remove an announcement after a manifest has recorded the announcement.

    If that fails, no error is raised.

    In that case, the next manifest records the announcement again.
    """
    with suppress(OSError):
        _path(context, kind, name).unlink(missing_ok=True)


def _path(context: BackupContext, kind: str, name: str) -> Path:
    return context.config.state_dir / "expected" / context.config.host / f"{kind}-{name}.json"
