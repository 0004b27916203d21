"""What a restore would do: chosen, compared with what stands there, and refused where it cannot work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from igny8_backup.catalog import select
from igny8_backup.databases.base import WHOLE, Target, Wanted
from igny8_backup.databases.surroundings import Surroundings
from igny8_backup.errors import UsageError
from igny8_backup.manifest import DatabaseDetails, DatabasePart, TreePart
from igny8_backup.operations import sanitize
from igny8_backup.operations.adapt import Changes, adapt
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.operations.clocks import dated_ahead
from igny8_backup.operations.obstacles import (
    check_objects,
    is_empty,
    other_engine,
    removed_apps,
    tree_obstacles,
    unknown_migrations,
)
from igny8_backup.operations.parts import ALL, left_out, read_details, require_none, wanted_parts
from igny8_backup.operations.quiet import WorkersPolicy, workers_notes, workers_obstacles
from igny8_backup.operations.surroundings import (
    Source,
    Space,
    find_spaces,
    seconds_after,
    source,
    space_obstacles,
)
from igny8_backup.streams.age import Identity
from igny8_backup.workers import Workers, ask_workers


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """``only`` is ``all``, ``db``, ``files``, an alias or the name of a tree; logs come back by name only.

    ``assume_space`` is the room, in bytes, on the volume of the database server, where the settings do not
    say. ``sanitize`` runs the project's sanitizers; ``keep_personal_data`` lets production's data into DEBUG.
    """

    backup_id: str = ""
    only: str = ALL
    identity_file: Path | None = None
    workers: WorkersPolicy = WorkersPolicy()
    assume_space: int | None = None
    sanitize: bool = False
    keep_personal_data: bool = False
    changes: Changes = Changes()


@dataclass(frozen=True, kw_only=True)
class DatabasePlan:
    """One database: from where, what it was, what stands there now and round it."""

    backup_id: str
    part: DatabasePart
    details: DatabaseDetails
    target: Target
    surroundings: Surroundings
    wanted: Wanted = WHOLE

    @property
    def same_server(self) -> bool | None:
        """Whether the backup is of the very server that it goes to; ``None`` where nobody knows."""
        then, now = self.details.system_identifier, self.surroundings.system_identifier
        return then == now if then and now else None


@dataclass(frozen=True, kw_only=True)
class TreePlan:
    """One tree: from where, the root that it goes to, and whether there is nothing in it to be replaced.

    ``seconds_after_database``: how long after the database snapshot it was read; negative for before.
    """

    backup_id: str
    part: TreePart
    root: Path
    empty: bool
    seconds_after_database: int | None = None


@dataclass(frozen=True, kw_only=True)
class RestorePlan:
    """What will be done, notes to read before, and obstacles: with one of those nothing will be done.

    ``host`` and ``environment`` are those of this machine; ``sources`` are the backups that are used.
    """

    created: datetime
    host: str
    environment: str
    sources: tuple[Source, ...]
    databases: tuple[DatabasePlan, ...]
    trees: tuple[TreePlan, ...]
    notes: tuple[str, ...]
    obstacles: tuple[str, ...]
    identities: tuple[Identity, ...]
    spaces: tuple[Space, ...] = ()
    workers: Workers = Workers()
    policy: WorkersPolicy = WorkersPolicy()
    sanitize: bool = False

    @property
    def replaces(self) -> tuple[str, ...]:
        """The names of live databases that hold something and would be replaced."""
        return tuple(item.target.name for item in self.databases if not item.target.empty)

    @property
    def backup_ids(self) -> tuple[str, ...]:
        """The backups that something is taken from, oldest first."""
        ids = {item.backup_id for item in self.databases} | {item.backup_id for item in self.trees}
        return tuple(sorted(ids))

    def require_feasible(self) -> None:
        """Raises ``RefusedError`` listing what is in the way."""
        require_none(self.obstacles)


def plan_restore(kit: Toolkit, request: RestoreRequest) -> RestorePlan:
    """The plan. Reads manifests, details and the state of the targets; changes nothing.

    Raises ``UsageError`` for an unknown id or part, ``IdentityError``, ``IntegrityError``, ``DatabaseError``.
    """
    wanted = kit.catalog.get(request.backup_id) if request.backup_id else None
    aliases, trees = wanted_parts(kit, request.only, wanted)
    pool = [wanted] if wanted else kit.catalog.manifests()
    selection = select(pool, databases=aliases, trees=trees, wanted=wanted)
    chosen = [manifest for manifest, _ in (*selection.databases, *selection.trees)]
    if not chosen:
        raise UsageError(
            "There is nothing to restore.",
            untouched="Nothing was changed.",
            fix="See what there is: python manage.py list_backups.",
        )
    encrypted = any(manifest.encrypted for manifest in chosen)
    identities = kit.identities(request.identity_file, needed=encrypted)
    notes = [*selection.notes, *left_out(kit, request.only, wanted)]
    if note := dated_ahead(max(manifest.id for manifest in pool), kit.clock()):
        notes.append(note)
    if kit.journals.unfinished():
        notes.append("An earlier restore, or its undoing, was interrupted: restore_all settles that first.")
    obstacles: list[str] = []
    details = {manifest.id: read_details(kit, manifest, identities) for manifest in chosen}
    databases: list[DatabasePlan] = []
    places: dict[str, str] = {}
    for manifest, part in selection.databases:
        found = details[manifest.id].database(part.alias)
        engine = kit.engine(part.alias)
        if part.engine != engine.engine:
            obstacles.append(other_engine(part, engine.engine))
            continue
        found, said = adapt(engine, found, request.changes)
        notes += said
        obstacles += engine.obstacles(part, found)
        obstacles += [f"{part.alias}: {text}" for text in unknown_migrations(found)]
        notes += removed_apps(found)
        target = engine.target()
        twin = places.setdefault(engine.place(), part.alias)
        if twin != part.alias:
            obstacles.append(
                f"{twin!r} and {part.alias!r} lead to one database, {target.name}: give --only {twin}."
            )
        databases.append(
            DatabasePlan(
                backup_id=manifest.id,
                part=part,
                details=found,
                target=target,
                surroundings=engine.surroundings(part, found),
                wanted=Wanted(owners=request.changes.owners),
            )
        )
    roots = {**kit.config.sites, **kit.config.logs}
    whole = kit.config.swap_whole
    obstacles += [
        text
        for _, part in selection.trees
        for text in tree_obstacles(roots[part.name], whole=part.name in whole)
    ]
    parts = [part.object for _, part in selection.databases if part.object]
    parts += [item for _, tree in selection.trees for item in (tree.index, *tree.packs) if item]
    check_objects(kit, parts)
    planned = [
        TreePlan(
            backup_id=manifest.id,
            part=part,
            root=roots[part.name],
            empty=is_empty(roots[part.name]),
            seconds_after_database=seconds_after(part, (item.part for item in databases)),
        )
        for manifest, part in selection.trees
    ]
    sources = [
        source(manifest, details[manifest.id]) for manifest in {one.id: one for one in chosen}.values()
    ]
    for item in sources:
        if not item.secret_key_equal:
            notes.append(
                "SECRET_KEY is not the one of the backup: encrypted fields and sessions will not open."
            )
        if item.environment != kit.config.environment:
            notes.append(
                f"The backup is of environment {item.environment!r}, this is {kit.config.environment!r}."
            )
    assumed = kit.config.assume_space if request.assume_space is None else request.assume_space
    spaces = find_spaces(kit.config, databases, planned, assumed=assumed)
    obstacles += space_obstacles(spaces)
    workers = ask_workers()
    notes += workers_notes(workers, request.workers)
    obstacles += workers_obstacles(workers, request.workers, hooks=bool(kit.config.before_restore))
    obstacles += sanitize.obstacles(
        kit.config,
        chosen,
        [item.part.alias for item in databases],
        sanitize=request.sanitize,
        keep=request.keep_personal_data,
    )
    notes += [sanitize.FILES_NOTE] if request.sanitize and planned else []
    return RestorePlan(
        created=kit.clock(),
        host=kit.config.host,
        environment=kit.config.environment,
        sources=tuple(sources),
        databases=tuple(databases),
        trees=tuple(planned),
        notes=tuple(dict.fromkeys(notes)),
        obstacles=tuple(obstacles),
        identities=tuple(identities),
        spaces=spaces,
        workers=workers,
        policy=request.workers,
        sanitize=request.sanitize,
    )
