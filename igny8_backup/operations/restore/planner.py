"""Plan a restore: compare the chosen backups with the live databases and trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from igny8_backup.catalog.select import Selection, select
from igny8_backup.celery.workers import ask_workers
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import UsageError, adding_context
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import StoredObject
from igny8_backup.operations.clock_skew import future_date_note
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read_details import read_details
from igny8_backup.operations.restore.plan import DatabasePlan, RestorePlan, RestoreRequest, Source, TreePlan
from igny8_backup.operations.restore.preflight import (
    check_objects,
    is_empty,
    other_engine,
    removed_apps,
    tree_blockers,
    unknown_migrations,
)
from igny8_backup.operations.restore.target import (
    describe_source,
    estimate_space,
    seconds_after,
    space_blockers,
)
from igny8_backup.operations.restore.workers import workers_blockers, workers_notes
from igny8_backup.operations.selection import missing_part_notes, select_parts
from igny8_backup.operations.staging import sanitize
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides


@adding_context("Nothing was changed.")
def plan_restore(context: BackupContext, request: RestoreRequest) -> RestorePlan:
    """Plan a restore from manifests, details and the state of the live databases and trees.

    Nothing is changed. Raises ``UsageError`` for an unknown id or part, ``IdentityError``,
    ``IntegrityError``, ``DatabaseError``.
    """
    findings = _Findings()
    selected = _select(context, request, findings)
    manifests = [manifest for manifest, _ in (*selected.databases, *selected.trees)]
    encrypted = any(manifest.encrypted for manifest in manifests)
    identities = context.identities(request.identity_file, needed=encrypted)
    details = {manifest.id: read_details(context, manifest, identities) for manifest in manifests}
    databases = _plan_databases(context, request.overrides, selected, details, findings)
    trees = _plan_trees(context, selected, databases, findings)
    check_objects(context, _objects(selected))
    unique = {manifest.id: manifest for manifest in manifests}
    sources = tuple(describe_source(manifest, details[id_]) for id_, manifest in unique.items())
    findings.notes += [text for item in sources for text in _source_notes(context, item)]
    assumed = context.config.assume_space if request.assume_space is None else request.assume_space
    spaces = estimate_space(context.config, databases, trees, assumed=assumed)
    findings.blockers += space_blockers(spaces)
    workers = ask_workers()
    findings.notes += workers_notes(workers, request.workers)
    findings.blockers += workers_blockers(workers, request.workers, hooks=bool(context.config.before_restore))
    findings.blockers += sanitize.blockers(
        context.config,
        manifests,
        [item.part.alias for item in databases],
        sanitize=request.sanitize,
        keep=request.keep_personal_data,
    )
    findings.notes += [sanitize.FILES_NOTE] if request.sanitize and trees else []
    return RestorePlan(
        created=context.clock(),
        host=context.config.host,
        environment=context.config.environment,
        sources=sources,
        databases=tuple(databases),
        trees=tuple(trees),
        notes=tuple(dict.fromkeys(findings.notes)),
        blockers=tuple(findings.blockers),
        identities=tuple(identities),
        spaces=spaces,
        workers=workers,
        policy=request.workers,
        sanitize=request.sanitize,
        allow_set_id=request.allow_set_id,
    )


@dataclass(kw_only=True)
class _Findings:
    """The notes, and the blockers (reasons that forbid the restore), that have been found so far."""

    notes: list[str] = field(default_factory=list)
    blockers: list[str] = field(default_factory=list)


def _select(context: BackupContext, request: RestoreRequest, findings: _Findings) -> Selection:
    """Choose the backup of each database and tree. Raises ``UsageError`` if there is nothing to restore."""
    given = context.catalog.get(request.backup_id) if request.backup_id else None
    aliases, trees = select_parts(context.config, request.only, given)
    pool = [given] if given else context.catalog.manifests()
    selected = select(pool, databases=aliases, trees=trees, wanted=given)
    if not (selected.databases or selected.trees):
        hint = "List the backups: python manage.py list_backups."
        raise UsageError("There is nothing to restore.", hint=hint)
    findings.notes += [*selected.notes, *missing_part_notes(context.config, request.only, given)]
    if note := future_date_note(max(manifest.id for manifest in pool), context.clock()):
        findings.notes.append(note)
    if context.journals.unfinished():
        findings.notes.append(
            "An earlier restore or undo was interrupted. restore_all completes it, or cleans up, first."
        )
    return selected


def _plan_databases(
    context: BackupContext,
    overrides: RestoreOverrides,
    selected: Selection,
    details: Mapping[str, Details],
    findings: _Findings,
) -> list[DatabasePlan]:
    plans: list[DatabasePlan] = []
    aliases: dict[str, str] = {}
    for manifest, part in selected.databases:
        engine = context.engine(part.alias)
        if part.engine != engine.vendor:
            findings.blockers.append(other_engine(part, engine.vendor))
            continue
        restored, notes = apply_overrides(engine, details[manifest.id].database(part.alias), overrides)
        findings.notes += [*notes, *removed_apps(restored)]
        findings.blockers += engine.blockers(part, restored)
        findings.blockers += [f"{part.alias}: {text}" for text in unknown_migrations(restored)]
        target = engine.target()
        twin = aliases.setdefault(engine.identity(), part.alias)
        if twin != part.alias:
            findings.blockers.append(
                f"{twin!r} and {part.alias!r} lead to the same database, {target.name}: give --only {twin}."
            )
        plans.append(
            DatabasePlan(
                backup_id=manifest.id,
                part=part,
                details=restored,
                target=target,
                target_state=engine.target_state(part, restored),
                selection=RestoreSelection(owners=overrides.owners),
            )
        )
    return plans


def _plan_trees(
    context: BackupContext, selected: Selection, databases: Sequence[DatabasePlan], findings: _Findings
) -> list[TreePlan]:
    roots = {**context.config.sites, **context.config.logs}
    plans: list[TreePlan] = []
    for manifest, part in selected.trees:
        root = roots[part.name]
        findings.blockers += tree_blockers(root, swap_root=part.name in context.config.swap_whole)
        plans.append(
            TreePlan(
                backup_id=manifest.id,
                part=part,
                root=root,
                empty=is_empty(root),
                seconds_after_database=seconds_after(part, (item.part for item in databases)),
            )
        )
    return plans


def _objects(selected: Selection) -> list[StoredObject]:
    """Return the stored objects that the restore will read."""
    dumps = [part.dump for _, part in selected.databases]
    return dumps + [item for _, tree in selected.trees for item in (tree.stored_index, *tree.packs)]


def _source_notes(context: BackupContext, source: Source) -> list[str]:
    """Return notes for a backup that was made with another ``SECRET_KEY`` or in another environment."""
    notes = []
    if not source.secret_key_equal:
        notes.append(
            "SECRET_KEY differs from that of the backup: encrypted fields and sessions cannot be read."
        )
    if source.environment != context.config.environment:
        notes.append(
            f"The backup is from environment {source.environment!r}, and this is"
            f" {context.config.environment!r}."
        )
    return notes
