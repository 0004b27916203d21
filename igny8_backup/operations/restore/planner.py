"""Makes the plan of a restore: what is in storage compared with what stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from igny8_backup.catalog import Selection, select
from igny8_backup.celery.workers import ask_workers
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import UsageError, adding_context
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import StoredObject
from igny8_backup.operations.clock_skew import future_date_note
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read_details import read_details
from igny8_backup.operations.restore.plan import DatabasePlan, RestorePlan, RestoreRequest, TreePlan
from igny8_backup.operations.restore.preflight import (
    check_objects,
    is_empty,
    other_engine,
    removed_apps,
    tree_blockers,
    unknown_migrations,
)
from igny8_backup.operations.restore.target import Source, find_spaces, seconds_after, source, space_blockers
from igny8_backup.operations.restore.workers import workers_blockers, workers_notes
from igny8_backup.operations.selection import missing_part_notes, select_parts
from igny8_backup.operations.staging import sanitize
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides


@adding_context("Nothing was changed.")
def plan_restore(context: BackupContext, request: RestoreRequest) -> RestorePlan:
    """The plan. Reads manifests, details and the state of the targets; overrides nothing.

    Raises ``UsageError`` for an unknown id or part, ``IdentityError``, ``IntegrityError``, ``DatabaseError``.
    """
    said = _Said()
    selection = _selected(context, request, said)
    chosen = [manifest for manifest, _ in (*selection.databases, *selection.trees)]
    encrypted = any(manifest.encrypted for manifest in chosen)
    identities = context.identities(request.identity_file, needed=encrypted)
    details = {manifest.id: read_details(context, manifest, identities) for manifest in chosen}
    databases = _databases(context, request.overrides, selection, details, said)
    trees = _trees(context, selection, databases, said)
    check_objects(context, _objects(selection))
    sources = tuple(source(one, details[one.id]) for one in {one.id: one for one in chosen}.values())
    said.notes += [text for item in sources for text in _other_place(context, item)]
    assumed = context.config.assume_space if request.assume_space is None else request.assume_space
    spaces = find_spaces(context.config, databases, trees, assumed=assumed)
    said.blockers += space_blockers(spaces)
    workers = ask_workers()
    said.notes += workers_notes(workers, request.workers)
    said.blockers += workers_blockers(workers, request.workers, hooks=bool(context.config.before_restore))
    said.blockers += sanitize.blockers(
        context.config,
        chosen,
        [item.part.alias for item in databases],
        sanitize=request.sanitize,
        keep=request.keep_personal_data,
    )
    said.notes += [sanitize.FILES_NOTE] if request.sanitize and trees else []
    return RestorePlan(
        created=context.clock(),
        host=context.config.host,
        environment=context.config.environment,
        sources=sources,
        databases=tuple(databases),
        trees=tuple(trees),
        notes=tuple(dict.fromkeys(said.notes)),
        blockers=tuple(said.blockers),
        identities=tuple(identities),
        spaces=spaces,
        workers=workers,
        policy=request.workers,
        sanitize=request.sanitize,
        allow_set_id=request.allow_set_id,
    )


@dataclass(kw_only=True)
class _Said:
    """What is said while a plan is made."""

    notes: list[str] = field(default_factory=list)
    blockers: list[str] = field(default_factory=list)


def _selected(context: BackupContext, request: RestoreRequest, said: _Said) -> Selection:
    """Which parts of which backups. Raises ``UsageError`` where there is nothing."""
    wanted = context.catalog.get(request.backup_id) if request.backup_id else None
    aliases, trees = select_parts(context.config, request.only, wanted)
    pool = [wanted] if wanted else context.catalog.manifests()
    selection = select(pool, databases=aliases, trees=trees, wanted=wanted)
    if not (selection.databases or selection.trees):
        raise UsageError(
            "There is nothing to restore.",
            unchanged="Nothing was changed.",
            hint="See what there is: python manage.py list_backups.",
        )
    said.notes += [*selection.notes, *missing_part_notes(context.config, request.only, wanted)]
    if note := future_date_note(max(manifest.id for manifest in pool), context.clock()):
        said.notes.append(note)
    if context.journals.unfinished():
        said.notes.append(
            "An earlier restore, or its undoing, was interrupted: restore_all settles that first."
        )
    return selection


def _databases(
    context: BackupContext,
    overrides: RestoreOverrides,
    selection: Selection,
    details: Mapping[str, Details],
    said: _Said,
) -> list[DatabasePlan]:
    found: list[DatabasePlan] = []
    places: dict[str, str] = {}
    for manifest, part in selection.databases:
        engine = context.engine(part.alias)
        if part.engine != engine.vendor:
            said.blockers.append(other_engine(part, engine.vendor))
            continue
        adapted, notes = apply_overrides(engine, details[manifest.id].database(part.alias), overrides)
        said.notes += [*notes, *removed_apps(adapted)]
        said.blockers += engine.blockers(part, adapted)
        said.blockers += [f"{part.alias}: {text}" for text in unknown_migrations(adapted)]
        target = engine.target()
        twin = places.setdefault(engine.identity(), part.alias)
        if twin != part.alias:
            said.blockers.append(
                f"{twin!r} and {part.alias!r} lead to one database, {target.name}: give --only {twin}."
            )
        found.append(
            DatabasePlan(
                backup_id=manifest.id,
                part=part,
                details=adapted,
                target=target,
                target_state=engine.target_state(part, adapted),
                wanted=RestoreSelection(owners=overrides.owners),
            )
        )
    return found


def _trees(
    context: BackupContext, selection: Selection, databases: Sequence[DatabasePlan], said: _Said
) -> list[TreePlan]:
    roots = {**context.config.sites, **context.config.logs}
    found: list[TreePlan] = []
    for manifest, part in selection.trees:
        root = roots[part.name]
        said.blockers += tree_blockers(root, whole=part.name in context.config.swap_whole)
        found.append(
            TreePlan(
                backup_id=manifest.id,
                part=part,
                root=root,
                empty=is_empty(root),
                seconds_after_database=seconds_after(part, (item.part for item in databases)),
            )
        )
    return found


def _objects(selection: Selection) -> list[StoredObject]:
    """What must be in storage for it."""
    dumps = [part.object for _, part in selection.databases if part.object]
    return dumps + [item for _, tree in selection.trees for item in (tree.index, *tree.packs) if item]


def _other_place(context: BackupContext, item: Source) -> list[str]:
    """Notes on a backup of another project or environment."""
    notes = []
    if not item.secret_key_equal:
        notes.append("SECRET_KEY is not the one of the backup: encrypted fields and sessions will not open.")
    if item.environment != context.config.environment:
        notes.append(
            f"The backup is of environment {item.environment!r}, this is {context.config.environment!r}."
        )
    return notes
