"""Back up one database: store its dump, and describe it for the details of the backup."""

from __future__ import annotations

from dataclasses import replace

from igny8_backup.databases.values import Answers
from igny8_backup.errors import BackupError
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import COMPLETE, DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.progress import RunObserver
from igny8_backup.operations.staging.probe_checks import unanswered, with_answers


def backup_database(
    context: BackupContext, backup_id: str, part: DatabasePart, observer: RunObserver
) -> tuple[DatabasePart, DatabaseDetails, BackupError | None]:
    """Store the dump of the database ``part.alias``.

    Returns the completed part, its details, and an error if a probe could not be answered. Raises
    ``DatabaseError``, ``ToolError``, ``RefusedError``, ``StorageError``; then nothing is stored.
    """
    alias = part.alias
    engine = context.engine(alias)
    observer.waiting_for("the database server")
    versions = engine.versions()
    details = engine.describe(context.config.exclude_table_data.get(alias, ()))
    observer.begin(details.size)

    answers = Answers()

    def keep_answers(received: Answers) -> None:
        nonlocal answers
        answers = received

    dump = engine.dump(details, context.config.probes.get(alias, {}), keep_answers)
    key = keys.database_key(backup_id, alias, engine.dump_kind, context.codec.suffix)
    stored = context.upload(key, claimed=True).send(
        observer.monitor(dump, source="the dump", sink="the storage"), estimate=details.size
    )
    observer.waiting_for("the database server")
    # Tables created or dropped during the dump may or may not be in it: the details do not promise them.
    remaining = set(engine.describe(()).tables)
    details = replace(details, tables=tuple(name for name in details.tables if name in remaining))
    part = replace(
        part, state=COMPLETE, object=stored, server_version=versions.server, dump_version=versions.tool
    )
    probe_error = unanswered(answers) if answers.failed or answers.denied else None
    return part, with_answers(details, answers), probe_error
