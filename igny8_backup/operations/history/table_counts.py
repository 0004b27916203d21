"""Remember, on this host, how many rows each table had in the last backup of a database.

The counts in the backup are encrypted, so this host cannot read them without an identity. A second record of
the counts in ``STATE_DIR`` (private, mode 0600) reveals nothing new on a host that has the database itself.
``spot_check`` reads this record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.operations.context import BackupContext

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class TableCounts:
    """The number of rows of each table of a database in a backup.

    Counting stops at ``counted_to + 1``, so this number means "more than ``counted_to``".
    """

    schema: int
    backup_id: str
    counted_to: int = 0
    row_counts: dict[str, int] = field(default_factory=dict)


def remember_tables(context: BackupContext, backup_id: str, databases: Iterable[DatabaseDetails]) -> None:
    """Remember the row counts of the databases in a new backup.

    A failure is shown as a note and not raised, because the backup itself is complete.
    """
    for details in databases:
        counts = TableCounts(
            schema=SCHEMA,
            backup_id=backup_id,
            counted_to=details.counted_to,
            row_counts=dict(details.row_counts),
        )
        try:
            replace_file(_file(context, details.alias), records.to_json(counts))
        except OSError as error:
            context.progress.note(
                f"The rows of {details.alias!r} could not be remembered in {context.config.state_dir}, so"
                f" spot_check cannot compare them: {error.strerror}."
            )


def remembered_tables(context: BackupContext, alias: str) -> TableCounts | None:
    """Return the counts of the last backup of a database; ``None`` if they are missing or damaged."""
    path = _file(context, alias)
    try:
        return records.from_json(TableCounts, path.read_bytes(), name=str(path), schema=SCHEMA)
    except (OSError, IntegrityError):
        return None


def _file(context: BackupContext, alias: str) -> Path:
    return context.config.state_dir / "table-counts" / context.config.host / f"{alias}.json"
