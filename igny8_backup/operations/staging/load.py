"""A dump loaded into a side database, whatever is to become of it, and compared with what was backed up."""

from __future__ import annotations

from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.errors import IntegrityError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.staging.probe_checks import check_answers
from igny8_backup.streams.age import Identity


def load_staging(
    context: BackupContext,
    engine: Engine,
    side: str,
    part: DatabasePart,
    details: DatabaseDetails,
    identities: list[Identity],
    *,
    selection: RestoreSelection = WHOLE,
    analyze: bool = True,
) -> tuple[str, ...]:
    """Loads the dump of ``part`` into the empty database ``side`` and compares it with ``details``; returns
    what was left out. Raises ``IntegrityError`` where the two differ."""
    stored = part.object
    if stored is None:
        raise IntegrityError(f"The backup of {part.alias!r} names no object.")
    with context.observe(f"database {part.alias}") as observer:
        observer.begin(stored.raw_bytes)
        # Stalls are reported while bytes move: after the last of them pg_restore may work for hours.
        blocks = context.download(stored, identities)
        left_out = engine.load(
            side,
            observer.monitor(blocks, source="the storage", sink="pg_restore"),
            raw_bytes=stored.raw_bytes,
            jobs=context.config.jobs,
            analyze=analyze,
            selection=selection,
        )
    missing = sorted(set(selection.tables or details.tables) - set(engine.tables(side)))
    if missing:
        raise IntegrityError(
            f"The restored database {part.alias!r} lacks tables that it had: {', '.join(missing[:5])}.",
            unchanged="Nothing live was changed.",
            hint="Choose another backup: list_backups.",
        )
    # Before anybody asks or migrates: the search path of the database may be what leads to the tables.
    engine.copy_settings(side, details)
    check_answers(context, engine, side, details, selection.tables)
    return left_out
