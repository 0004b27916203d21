"""What a copy of a database or tree is compared with, as its manifest records it.

:mod:`igny8_backup.standing` compares a copy with an earlier one, the *baseline*. The manifest of a backup
records the sizes and the source of each baseline, so that the verdict on the copy does not depend on whether
retention has kept the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.formats.source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The size that a restore or an undo announced for the next copy of a database or tree.

    ``by`` is ``restore`` or ``undo``, and ``backup_id`` is the backup that was restored. The sizes are those
    of the restored copy; ``None`` means "not known". If ``by`` is ``move``, somebody announced that the
    database moves to another server, and gave the ``reason``. Its size is then not expected to change. See
    :mod:`igny8_backup.standing`.
    """

    by: str
    backup_id: str = ""
    bytes: int | None = None
    files: int | None = None
    rows: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The earlier copy with which a copy is compared: the one in the backup ``backup_id``.

    ``bytes`` and ``files`` or ``rows`` are its sizes; ``None`` means "not counted". ``identified_by`` is the
    id of the backup that last recorded the database server, ``migrated_by`` that of the backup that last
    recorded applied migrations; ``source`` has these records. All fields are empty if there was no earlier
    copy.
    """

    backup_id: str = ""
    bytes: int | None = None
    files: int | None = None
    rows: int | None = None
    source: Source = Source()
    identified_by: str = ""
    migrated_by: str = ""
