"""Back up one database: store its dump, and describe the database in the details of the backup."""

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
    """Dump the database ``part.alias`` and store the dump.

    Returns ``part`` (its entry in the manifest) completed, its details, and an error if a probe (a query in
    the settings) failed. Raises ``DatabaseError``, ``ToolError``, ``RefusedError`` or ``StorageError``; no
    dump is left in storage then.
    """
    alias, config = part.alias, context.config
    engine = context.engine(alias)
    observer.waiting_for("the database server")
    versions = engine.versions()
    details = engine.describe(config.exclude_table_data.get(alias, ()))
    observer.begin(details.size)
    received = [Answers()]
    dump = engine.dump(details, config.probes.get(alias, {}), received.append)
    key = keys.database_key(backup_id, alias, engine.dump_kind, context.codec.suffix)
    stored = context.upload(key, claimed=True).send(
        observer.monitor(dump, source="the dump", sink="the storage"), estimate=details.size
    )
    observer.waiting_for("the database server")
    # Tables that were created or dropped during the dump may be missing in it: the details omit them.
    remaining = set(engine.describe(()).tables)
    details = replace(details, tables=tuple(name for name in details.tables if name in remaining))
    part = replace(
        part, state=COMPLETE, object=stored, server_version=versions.server, dump_version=versions.tool
    )
    answers = received[-1]
    probe_error = unanswered(answers) if answers.failed or answers.denied else None
    return part, with_answers(details, answers), probe_error
