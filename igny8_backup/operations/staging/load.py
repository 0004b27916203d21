"""Load a dump into a staging database (not live yet) and compare the result with the backup."""

from __future__ import annotations

from igny8_backup.databases.engine import Engine
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.errors import damaged_backup
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.staging.probe_checks import check_answers
from igny8_backup.streams.age import Identity


def load_staging(
    context: BackupContext,
    engine: Engine,
    staging: str,
    part: DatabasePart,
    details: DatabaseDetails,
    identities: list[Identity],
    *,
    selection: RestoreSelection = WHOLE,
    analyze: bool = True,
) -> tuple[str, ...]:
    """Load the dump of ``part`` into the empty database ``staging``; compare the result with ``details``.

    ``selection`` limits what is loaded. ``analyze``: run ANALYZE at the end. Returns descriptions of the
    objects in the dump that were not restored. Raises ``IntegrityError`` if the result differs from the
    backup.
    """
    stored = part.dump
    with context.observe(f"database {part.alias}") as observer:
        observer.begin(stored.raw_bytes)
        # Stalls are reported only until the last byte is read. Afterwards pg_restore may work for hours.
        blocks = context.download(stored, identities)
        left_out = engine.load(
            staging,
            observer.monitor(blocks, source="the storage", sink="pg_restore"),
            raw_bytes=stored.raw_bytes,
            jobs=context.config.jobs,
            selection=selection,
        )
        if analyze:
            engine.analyze(staging)
    missing = sorted(set(selection.tables or details.tables) - set(engine.tables(staging)))
    if missing:
        raise damaged_backup(
            f"The restored database {part.alias!r} lacks tables of the backup: {', '.join(missing[:5])}."
        )
    # Probes and migrations may find their tables only with the search path of the database.
    engine.copy_settings(staging, details)
    check_answers(context, engine, staging, details, selection.tables)
    return left_out
