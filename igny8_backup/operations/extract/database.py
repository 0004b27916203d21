"""Extract a database, or some of its tables, into a new database on the same server."""

from __future__ import annotations

from dataclasses import dataclass, replace

from igny8_backup.common.humanize import listed
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.names import NAME_BYTES, STAGING, find_tables, is_derived_name
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.errors import BackupError, RefusedError, UsageError, damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.installation.migrations import missing_migrations
from igny8_backup.operations.read.dump import find_damage
from igny8_backup.operations.staging.load import add_unfilled_views, load_staging
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides, owner_privileges
from igny8_backup.operations.staging.project_code import sandbox, sanitize
from igny8_backup.operations.staging.project_code.rehearsal import rehearse
from igny8_backup.streams.age import Identity

_UNCHANGED = "Nothing was created."


@dataclass(frozen=True, kw_only=True)
class DatabaseCopy:
    """A database to create from a backup.

    ``name`` is the name of the new database, and ``where`` its address, which is shown to the user.
    ``selection`` chooses what is restored from the dump. ``skip_damaged``: leave out tables whose rows cannot
    be read. ``migrate``: run the project's migrations in the new
    database. ``sanitize``: run the sanitizers, which remove personal data from it.
    """

    backup_id: str
    part: DatabasePart
    details: DatabaseDetails
    name: str
    where: str
    selection: RestoreSelection = WHOLE
    migrate: bool = False
    sanitize: bool = False
    skip_damaged: bool = False

    def untrusted(self) -> DatabaseCopy:
        """Return the plan for a backup that no trusted key signed: dangerous SQL is refused."""
        return replace(self, selection=replace(self.selection, untrusted=True))


def plan_copy(
    context: BackupContext,
    backup_id: str,
    part: DatabasePart,
    details: DatabaseDetails,
    *,
    name: str,
    tables: tuple[str, ...],
    migrate: bool,
    sanitized: bool,
    overrides: RestoreOverrides,
    skip_damaged: bool = False,
) -> tuple[DatabaseCopy, list[str], list[str]]:
    """Plan a new database ``name``; return the plan, notes, and blockers (reasons against it).

    ``tables``: restore only these tables; empty for all. ``migrate`` and ``sanitized``: run the project's
    migrations and sanitizers in the new database. Raises ``RefusedError`` if the database exists already,
    ``UsageError`` for an invalid name or an unknown table.
    """
    engine = _engine(context, part.alias)
    _check_name(engine, name)
    if skip_damaged and part.chunked is None:
        raise UsageError(
            f"The dump of {part.alias!r} is stored whole: nothing behind a damaged byte can be decrypted.",
            unchanged=_UNCHANGED,
            hint="Remove --skip-damaged, and choose another backup: list_backups.",
        )
    copied = engine.for_database(name)
    details, override_notes = apply_overrides(engine, details, overrides)
    notes = [*override_notes, *engine.plan_notes(details)]
    notes += [
        f"An interrupted extract_backup may have left the database {staging}. If none is running:"
        f' DROP DATABASE "{staging}";'
        for staging in copied.stale_staging_databases()
    ]
    selection = RestoreSelection(owners=overrides.owners)
    if tables:
        full_names = find_tables(details, tables)
        selection = replace(selection, tables=full_names)
        empty = sorted(set(full_names) & set(details.excluded_data))
        if empty:
            notes.append(f"The backup does not contain the rows of {', '.join(empty)}.")
    # An extraction restores neither settings of the database nor privileges on it, so they block nothing.
    blockers = copied.blockers(part, replace(details, settings=(), privileges=None))
    if migrate:
        blockers += missing_migrations(details)
    rehearsal = rehearse(context, [details], migrate=migrate, sanitize=sanitized)
    notes += rehearsal.notes
    blockers += rehearsal.blockers
    # Only the owner may connect, until the owner grants CONNECT to other roles.
    privileges = owner_privileges(details.owner)
    comment = f"igny8_backup: {part.alias} of backup {backup_id}"
    copy = DatabaseCopy(
        backup_id=backup_id,
        part=part,
        details=replace(details, privileges=privileges, connection_limit=-1, comment=comment),
        name=name,
        where=copied.where,
        selection=selection,
        migrate=migrate,
        sanitize=sanitized,
        skip_damaged=skip_damaged,
    )
    return copy, notes, blockers


def create_copy(context: BackupContext, copy: DatabaseCopy, identities: list[Identity]) -> tuple[str, ...]:
    """Create the database; return descriptions of the objects in the dump that were not restored.

    After a failure, the unfinished database is dropped.
    """
    engine = _engine(context, copy.part.alias)
    _check_name(engine, copy.name)
    if copy.skip_damaged:
        copy = _around_damage(context, copy, identities)
    engine = engine.for_database(copy.name)
    staging, part = engine.derived_name(STAGING, keys.stamp(context.clock())), copy.part
    engine.create_staging(staging, copy.details)
    try:
        analyze = not copy.sanitize  # statistics could contain values that sanitizing removes
        left_out = load_staging(
            context,
            engine,
            staging,
            part,
            copy.details,
            identities,
            selection=copy.selection,
            analyze=analyze,
        )
        if copy.migrate:
            context.progress.note(f"Migrating {copy.name} to the schema of the code.")
            sandbox.migrate({part.alias: staging}, {}, note=context.progress.note)
        if copy.sanitize:
            sanitize.sanitize(context, {part.alias: staging})
        # Renamed last: if a database has the requested name, it is complete.
        engine.name_staging(staging, copy.details)
    except BaseException:
        try:
            engine.drop(staging)
        except BackupError as error:
            context.progress.note(
                f"The database was not extracted, and its staging database {staging} could not be dropped."
                f" Drop {staging} by hand. {error}"
            )
        raise
    add_unfilled_views(context, part.alias, left_out, lost_rows=bool(copy.selection.lost.packs))
    return left_out


def _around_damage(context: BackupContext, copy: DatabaseCopy, identities: list[Identity]) -> DatabaseCopy:
    """Find out which data of the dump are lost; return the plan to extract the rest."""
    part = copy.part
    context.progress.begin(f"damage of {part.alias}", sum(pack.raw_bytes for pack in part.stored_packs))
    try:
        lost = find_damage(context, part, copy.details, identities, context.progress.advance)
    finally:
        context.progress.end()
    if not lost.packs:
        context.progress.note(f"No pack of the dump of {part.alias!r} is damaged, so nothing is left out.")
        return copy
    wanted = [name for name in lost.tables if name in (copy.selection.tables or lost.tables)]
    if copy.selection.tables and len(wanted) == len(copy.selection.tables):
        raise damaged_backup(
            f"The rows of {listed(wanted)} are in damaged packs: {listed(sorted(lost.packs))}."
        )
    missing = [f"the rows of {listed(wanted)}"] if wanted else []
    missing += ["large objects"] if lost.large_objects and not copy.selection.tables else []
    if missing:
        context.shortfalls.add(
            part.alias,
            "damage",
            f"{part.alias}: {' and '.join(missing)} could not be restored, because packs of the dump are"
            f" damaged: {listed(sorted(lost.packs))}. These tables are empty, and foreign keys to them are"
            " missing.",
        )
    return replace(copy, selection=replace(copy.selection, lost=lost))


def _engine(context: BackupContext, alias: str) -> Engine:
    engine = context.engine(alias)
    engine.require(
        Capability.COPY,
        unchanged=_UNCHANGED,
        hint="Copy the database file, or use settings whose DATABASES name a PostgreSQL server.",
    )
    return engine


def _check_name(engine: Engine, name: str) -> None:
    unchanged = _UNCHANGED
    if len(name.encode()) > NAME_BYTES or not name.isprintable() or is_derived_name(name, engine.name):
        hint = (
            f"Give a printable name of at most {NAME_BYTES} bytes that does not look like one that a restore"
            " creates: --to-database igny8_copy."
        )
        raise UsageError(f"{name!r} cannot be the name of a new database.", unchanged=unchanged, hint=hint)
    if name == engine.name:
        hint = "Give another name. To replace the live database, use restore_all."
        raise RefusedError(
            f"{name} is the database of the application, so nothing is extracted into it.",
            unchanged=unchanged,
            hint=hint,
        )
    if engine.exists(name):
        hint = "Give another name, or drop that database first."
        raise RefusedError(f"The database {name} exists already.", unchanged=unchanged, hint=hint)
