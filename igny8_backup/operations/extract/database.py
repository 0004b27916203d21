"""A database, or some of its tables, restored under a name that nobody uses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.names import NAME_BYTES, STAGING, find_tables, is_derived_name
from igny8_backup.databases.values import WHOLE, RestoreSelection
from igny8_backup.errors import BackupError, RefusedError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.details import DatabaseDetails, Privilege
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.preflight import unknown_migrations
from igny8_backup.operations.staging import sandbox, sanitize
from igny8_backup.operations.staging.load import load_staging
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.streams.age import Identity


@dataclass(frozen=True, kw_only=True)
class DatabaseCopy:
    """The database to make: its name, where for people, and whether ``migrate`` and the project's sanitizers
    are to run in it."""

    backup_id: str
    part: DatabasePart
    details: DatabaseDetails
    name: str
    where: str
    wanted: RestoreSelection = WHOLE
    migrate: bool = False
    sanitize: bool = False


@dataclass(frozen=True, kw_only=True)
class PlannedCopy:
    """The copy, notes to read before, and obstacles."""

    copy: DatabaseCopy
    notes: tuple[str, ...]
    blockers: tuple[str, ...]


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
) -> PlannedCopy:
    """Plans the database ``name``; makes nothing.

    Raises ``RefusedError`` where there is such a database, ``UsageError`` for a name or table that cannot be.
    """
    engine = _engine(context, part.alias)
    _check_name(engine, name)
    copied = engine.for_database(name)
    table_owners = details.owners
    details, said = apply_overrides(engine, details, overrides)
    notes = list(said)
    notes += [
        f"An interrupted restore may have left the database {side}. If none is under way:"
        f' DROP DATABASE "{side}";'
        for side in copied.stale_staging_databases()
    ]
    wanted = RestoreSelection(owners=overrides.owners)
    if tables:
        whole = find_tables(details, tables)
        wanted = replace(wanted, tables=whole, table_owners=table_owners)
        empty = sorted(set(whole) & set(details.excluded_data))
        if empty:
            notes.append(
                f"The backup does not have the rows of {', '.join(empty)}: they were left out of it."
            )
    blockers = copied.blockers(part, details)
    if migrate:
        blockers += unknown_migrations(details)
    # Open to its owner, and to nobody else until somebody says so.
    own = ("CONNECT", "CREATE", "TEMPORARY")
    privileges = tuple(Privilege(grantee=details.owner, privilege=word, grantable=False) for word in own)
    comment = f"igny8_backup: {part.alias} of backup {backup_id}"
    copy = DatabaseCopy(
        backup_id=backup_id,
        part=part,
        details=replace(details, privileges=privileges, connection_limit=-1, comment=comment),
        name=name,
        where=copied.where,
        wanted=wanted,
        migrate=migrate,
        sanitize=sanitized,
    )
    return PlannedCopy(copy=copy, notes=tuple(notes), blockers=tuple(blockers))


def make_copy(context: BackupContext, copy: DatabaseCopy, identities: list[Identity]) -> tuple[str, ...]:
    """Makes the database; returns what was left out of it. A failure leaves nothing."""
    engine = _engine(context, copy.part.alias)
    _check_name(engine, copy.name)
    engine = engine.for_database(copy.name)
    stamp = keys.stamp(context.clock())
    side = engine.derived_name(STAGING, stamp)
    engine.create_staging(side, copy.details)
    try:
        left_out = load_staging(
            context,
            engine,
            side,
            copy.part,
            copy.details,
            identities,
            selection=copy.wanted,
            # Statistics of what is to be sanitized would hold it still.
            analyze=not copy.sanitize,
        )
        if copy.migrate:
            context.progress.note(f"Migrating {copy.name} to the code's schema.")
            sandbox.migrate({copy.part.alias: side})
        if copy.sanitize:
            sanitize.sanitize(context, {copy.part.alias: side})
        # Its name comes last: a database that is called so is whole.
        engine.name_staging(side, copy.details)
    except BaseException:
        try:
            engine.drop(side)
        except BackupError as error:
            context.progress.note(f"The database {side} could not be dropped, drop it by hand: {error}")
        raise
    return left_out


def _engine(context: BackupContext, alias: str) -> Engine:
    engine = context.engine(alias)
    engine.require(
        Capability.COPY,
        unchanged="Nothing was created.",
        hint="Copy the database file, or use settings whose DATABASES name a PostgreSQL server.",
    )
    return engine


def _check_name(engine: Engine, name: str) -> None:
    if len(name.encode()) > NAME_BYTES or not name.isprintable() or is_derived_name(name, engine.name):
        raise UsageError(
            f"{name!r} cannot be the name of a new database.",
            unchanged="Nothing was created.",
            hint=f"Give one of at most {NAME_BYTES} bytes that no restore gives: --to-database igny8_copy.",
        )
    if name == engine.name:
        raise RefusedError(
            f"{name} is the database of the application.",
            unchanged="Nothing was created.",
            hint="Give another name. To replace the live database, use restore_all.",
        )
    if engine.exists(name):
        raise RefusedError(
            f"There is a database {name} already.",
            unchanged="Nothing was created.",
            hint="Give another name, or drop it first.",
        )
