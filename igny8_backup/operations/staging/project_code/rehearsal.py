"""Test, while a restore is planned, whether the project's code will work when the databases are loaded.

The load of a large database takes hours. Three failures must be found before that: a project that does not
start in the sandbox, migrations that do not fit the backup, and sanitizers that cannot be imported. No
staging database is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import BackupError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.installation import migrations
from igny8_backup.operations.staging.project_code import sandbox

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What the rehearsal found.

    ``pending`` maps aliases to the migrations that would run. It lacks an alias if the restore does not
    migrate the database, or if the backup does not record which migrations were applied.
    """

    notes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    pending: Mapping[str, Sequence[str]] = field(default_factory=dict)


def rehearse(
    context: BackupContext,
    databases: Sequence[DatabaseDetails],
    *,
    migrate: bool = True,
    sanitize: bool = False,
) -> Rehearsal:
    """Start the project in the sandbox and plan its migrations for the backups of ``databases``.

    Does nothing if the restore of these databases would run no code of the project. ``migrate`` and
    ``sanitize`` say whether the restore runs migrations and sanitizers.
    """
    migrated = [item for item in databases if migrate and item.migrations]
    aliases = [item.alias for item in databases]
    listed = context.config.sanitizers if sanitize else {}
    sanitizers = [text for alias in aliases for text in listed.get(alias, ())]
    if not (migrated or sanitizers):
        return Rehearsal()
    applied = {item.alias: keys for item in migrated if (keys := migrations.applied(item)) is not None}
    notes: list[str] = []
    try:
        with context.observe("the project's code") as observer:
            observer.waiting_for("the start of the project")
            pending = sandbox.rehearse(applied, aliases, sanitizers, note=notes.append)
    except BackupError as error:
        return Rehearsal(blockers=(error.what,))
    notes += [note for item in migrated for note in migrations.comparison_notes(item)]
    notes += [_pending_note(alias, names) for alias, names in pending.items() if names]
    return Rehearsal(notes=tuple(notes), pending=pending)


def differing_migrations(details: DatabaseDetails, rehearsal: Rehearsal) -> list[str]:
    """Return how the migrations in the code differ from those in the backup; empty if they do not.

    For a restore in place, each difference is a blocker, because such a restore cannot run migrations.
    """
    if missing := migrations.missing_migrations(details):
        return missing
    if details.applied_migrations is None:
        return migrations.differing_last_migrations(details)
    return migrations.pending_migrations(details, rehearsal.pending.get(details.alias, ()))


def _pending_note(alias: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{alias}: {count_in_words(len(names), 'migration')} will run: {', '.join(names[:_SHOWN])}{more}."
