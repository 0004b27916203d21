"""Restore one database of a drill, compare it with the backup, migrate it, and drop it."""

from __future__ import annotations

from igny8_backup.databases.engine import Engine
from igny8_backup.errors import BackupError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.plan import ScratchDatabase
from igny8_backup.operations.staging.load import load_staging
from igny8_backup.operations.staging.project_code import sandbox
from igny8_backup.streams.age import Identity


def load_database(
    context: BackupContext, database: ScratchDatabase, identities: list[Identity], *, migrate: bool
) -> None:
    """Restore a database into its scratch database, compare it with the backup, and drop it again.

    The scratch database is also dropped if the restore fails. ``migrate``: after the restore, run the
    project's migrations, provided that the backup has recorded migrations.

    Raises the errors of :func:`~igny8_backup.operations.staging.load.load_staging`, ``DatabaseError``, and
    ``BackupError`` if a migration fails.
    """
    engine, name, part, details = database.engine, database.name, database.part, database.details
    try:
        engine.create_staging(name, details)
        load_staging(context, engine, name, part, details, identities, selection=database.selection)
        if details.migrations and migrate:
            servers = {part.alias: database.access} if database.access else {}
            sandbox.migrate({part.alias: name}, servers, note=context.progress.note)
    finally:
        _drop(context, engine, name)


def _drop(context: BackupContext, engine: Engine, name: str) -> None:
    try:
        engine.drop(name)
    except BackupError as error:
        context.progress.note(
            f"The scratch database {name} could not be dropped. The next drill will drop it. {error}"
        )
