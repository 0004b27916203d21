"""Plan the restore of one database in a drill: the server, the role, and the reasons against the restore."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine
from igny8_backup.databases.names import DRILL
from igny8_backup.databases.values import RestoreSelection, ServerAccess
from igny8_backup.databases.verify_dump import vulnerable_readers
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.place import MADE_ROLE, OWN_ROLE, Place, Places
from igny8_backup.operations.installation.migrations import missing_migrations
from igny8_backup.operations.staging.origin import (
    OriginFindings,
    check_origin,
    require_safe,
    without_risky_settings,
)
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides

LACKS_RIGHTS = re.compile(r"permission denied|must be (a )?superuser|must be owner|must have")
"""Matches English messages of PostgreSQL which say that the connected role lacks a privilege."""


@dataclass(frozen=True, kw_only=True)
class ScratchDatabase:
    """The plan to restore one database of the backup into the scratch database ``name``.

    ``details`` describe the database as it will be restored. ``selection`` says which parts of the dump will
    be restored. ``access`` is how to connect to the server; ``None`` means as ``DATABASES`` says. ``notes``
    are shown to the user. ``otherwise`` is the plan to follow if this restore fails because the role lacks
    rights.
    """

    engine: Engine
    part: DatabasePart
    details: DatabaseDetails
    name: str
    selection: RestoreSelection
    access: ServerAccess | None = None
    notes: tuple[str, ...] = ()
    otherwise: ScratchDatabase | None = None


@dataclass(frozen=True, kw_only=True)
class _Option:
    """The plan to restore a database at one place, and the reasons why it cannot be carried out there.

    ``blockers`` are reasons that lie in the server. ``origin.blockers`` are reasons that lie in the origin of
    the backup, for example that no trusted key signed it.
    """

    database: ScratchDatabase
    origin: OriginFindings
    blockers: tuple[str, ...]

    @property
    def possible(self) -> bool:
        return not (self.blockers or self.origin.blockers)


def plan_database(
    context: BackupContext,
    manifest: Manifest,
    places: Places,
    part: DatabasePart,
    recorded: DatabaseDetails,
    *,
    owners: bool,
    stamp: str,
) -> tuple[ScratchDatabase, list[str]]:
    """Plan the restore of ``part`` at the first place where it is possible.

    Returns the plan, and its blockers: the reasons why it cannot be carried out. ``recorded`` are the details
    of the database in the backup. ``owners``: restore owners and privileges where the place allows it.
    ``stamp`` is the start of the drill; the name of the scratch database contains it.

    Raises ``UsageError`` for a database that is not PostgreSQL. Raises ``RefusedError`` if the backup is not
    trusted, and the PostgreSQL programs or the role would make its restore dangerous.
    """
    context.engine(part.alias).require(
        Capability.DRILL,
        unchanged="Nothing was created.",
        hint="Run the drill with settings whose DATABASES name a PostgreSQL server.",
    )
    options = [
        _plan_at(context, manifest, place, part, recorded, owners=owners, stamp=stamp)
        for place in places.of_database(part, recorded)
    ]
    chosen = next((option for option in options if option.possible), options[-1])
    require_safe(replace(chosen.origin, notes=chosen.database.notes), context.progress.note)
    later = [option.database for option in options[options.index(chosen) + 1 :] if option.possible]
    database = replace(chosen.database, otherwise=later[0] if later else None)
    return database, [*chosen.blockers, *missing_migrations(database.details)]


def _plan_at(
    context: BackupContext,
    manifest: Manifest,
    place: Place,
    part: DatabasePart,
    recorded: DatabaseDetails,
    *,
    owners: bool,
    stamp: str,
) -> _Option:
    readers = vulnerable_readers(part, context.config.client_bin_dir)
    origin = check_origin(context, place.engine, manifest, readers=readers)
    if place.of_application:
        origin = origin.with_powers(manifest.id, OWN_ROLE, known=context.config.trust.required)
    overrides = RestoreOverrides(owners=owners and place.owners)
    restored, _ = apply_overrides(place.engine, recorded, overrides)
    restored, _ = without_risky_settings(restored, origin)
    name = place.engine.derived_name(DRILL, stamp)
    # A drill restores neither settings of the database nor privileges on it, so they block nothing.
    bare = replace(restored, settings=(), privileges=None)
    notes = (*origin.notes, *[MADE_ROLE] * (owners and not place.owners))
    database = ScratchDatabase(
        engine=place.engine,
        part=part,
        details=restored,
        name=name,
        selection=RestoreSelection(owners=overrides.owners, untrusted=origin.untrusted),
        access=place.access,
        notes=notes,
    )
    blockers = place.engine.for_database(name).blockers(part, bare)
    return _Option(database=database, origin=origin, blockers=tuple(blockers))
