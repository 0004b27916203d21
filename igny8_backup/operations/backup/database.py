"""One database of a backup: its dump, and what the details tell about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from igny8_backup.databases.values import Answers
from igny8_backup.errors import BackupError
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import COMPLETE, DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.staging.probe_checks import unanswered, with_answers
from igny8_backup.operations.stalls import StallMonitor


def backup_database(
    context: BackupContext, backup_id: str, part: DatabasePart, *, on_bytes: Callable[[int], None]
) -> tuple[DatabasePart, DatabaseDetails, BackupError | None]:
    """Stores the dump of the database ``part.alias``: the part, complete, its details, and what is wrong
    with its probes, if anything. ``on_bytes`` hears of raw bytes as they pass.

    Raises ``DatabaseError``, ``ToolError``, ``RefusedError``, ``StorageError``: nothing is stored then.
    """
    alias = part.alias
    engine = context.engine(alias)
    watch = StallMonitor(
        f"database {alias}",
        context.progress,
        seconds=context.config.stall_seconds,
        reason=engine.blocking_sessions,
    )
    with watch:
        watch.wait_for("the database server")
        versions = engine.versions()
        details = engine.describe(context.config.exclude_table_data.get(alias, ()))
        key = keys.database_key(backup_id, alias, engine.dump_kind, context.codec.suffix)
        context.progress.begin(f"database {alias}", details.size)
        answers = Answers()

        def answered(found: Answers) -> None:
            nonlocal answers
            answers = found

        blocks = engine.dump(details, context.config.probes.get(alias, {}), answered)
        dump = watch.through(blocks, source="the dump", sink="the storage")
        stored = context.upload(key, dump, estimate=details.size, on_bytes=on_bytes, claimed=True)
        watch.wait_for("the database server")
        kept = set(engine.describe(()).tables)
    part = replace(
        part, state=COMPLETE, object=stored, server_version=versions.server, dump_version=versions.tool
    )
    # A table made or dropped while the dump ran may or may not be in it: it is not promised.
    details = replace(details, tables=tuple(name for name in details.tables if name in kept))
    wrong = unanswered(answers) if answers.failed or answers.denied else None
    return part, with_answers(details, answers), wrong
