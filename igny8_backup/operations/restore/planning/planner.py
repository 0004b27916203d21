"""Plan a restore: compare the backups to restore with the live databases and trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from igny8_backup.catalog.given import Given
from igny8_backup.catalog.select import Selection
from igny8_backup.databases.values import RestoreSelection, VulnerableProgram
from igny8_backup.errors import UsageError, adding_context
from igny8_backup.formats.details import Details
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.select_copies import read_given, select_copies
from igny8_backup.operations.installation.migrations import missing_migrations, removed_apps
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.restore import hooks
from igny8_backup.operations.restore.other_workers import find_workers
from igny8_backup.operations.restore.planning.facts import (
    describe_source,
    excluded_live_files,
    excluded_notes,
    seconds_after,
    source_notes,
)
from igny8_backup.operations.restore.planning.plan import DatabasePlan, RestorePlan, RestoreRequest, TreePlan
from igny8_backup.operations.restore.planning.preflight import (
    check_objects,
    is_empty,
    name_blockers,
    other_engine,
    tree_blockers,
)
from igny8_backup.operations.restore.planning.space import (
    IF_WRONG,
    estimate_space,
    refused_space,
    room_for,
    space_blockers,
)
from igny8_backup.operations.restore.workers import workers_blockers, workers_notes
from igny8_backup.operations.selection import missing_part_notes, select_parts
from igny8_backup.operations.staging.origin import check_origin, without_risky_settings
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.operations.staging.project_code import sanitize
from igny8_backup.operations.staging.project_code.rehearsal import rehearse

NOT_MIGRATED = (
    "The restored databases will not be migrated, and beat will start every task that was due since the"
    " backup. After the restore, run: python manage.py migrate."
)
"""The note of a plan that does not run the migrations of the code."""


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
    trees = _plan_trees(context, selected, details, databases, findings)
    findings.notes += check_objects(context, _objects(selected))
    unique = {manifest.id: manifest for manifest in manifests}
    sources = tuple(describe_source(manifest, details[id_]) for id_, manifest in unique.items())
    findings.notes += [text for item in sources for text in source_notes(context.config.environment, item)]
    assumed = context.config.assume_space if request.assume_space is None else request.assume_space
    spaces = estimate_space(databases, trees, assumed=assumed)
    short = space_blockers(spaces)
    if request.ignore_space:
        findings.notes += [f"{text} This is ignored: --ignore-space." for text in short]
    else:
        short += refused_space([room_for(context.config, item) for item in trees], spaces)
        findings.blockers += [f"{text} {IF_WRONG}" for text in short]
    workers = find_workers(context.config)
    live = any(not item.target.empty for item in databases) or not all(item.empty for item in trees)
    findings.notes += workers_notes(workers, request.workers, live=live)
    findings.blockers += workers_blockers(
        workers, request.workers, live=live, hooks=bool(context.config.before_restore)
    )
    findings.blockers += sanitize.blockers(
        context.config,
        manifests,
        [item.part.alias for item in databases],
        sanitize=request.sanitize,
        keep=request.keep_personal_data,
    )
    findings.notes += [sanitize.FILES_NOTE] if request.sanitize and trees else []
    findings.blockers += hooks.blockers(context.config)
    rehearsal = rehearse(
        context, [item.details for item in databases], migrate=request.migrate, sanitize=request.sanitize
    )
    findings.notes += rehearsal.notes
    findings.blockers += rehearsal.blockers
    if not request.migrate and any(item.details.migrations for item in databases):
        findings.notes.append(NOT_MIGRATED)
    return RestorePlan(
        created=context.clock(),
        host=context.config.host,
        environment=context.config.environment,
        sources=sources,
        databases=tuple(databases),
        trees=tuple(trees),
        notes=tuple(dict.fromkeys(findings.notes)),
        blockers=tuple(dict.fromkeys(findings.blockers)),
        vulnerable=tuple(dict.fromkeys(findings.to_confirm)),
        identities=tuple(identities),
        spaces=spaces,
        workers=workers,
        policy=request.workers,
        migrate=request.migrate,
        sanitize=request.sanitize,
        allow_set_id=request.allow_set_id,
        fleet=findings.fleet,
    )


@dataclass(kw_only=True)
class _Findings:
    """The findings of the planner: notes, and blockers (reasons that forbid the restore).

    ``to_confirm`` are programs with known security holes, whose use the user must confirm. ``fleet`` is the
    id of the fleet backup that the user has named.
    """

    notes: list[str] = field(default_factory=list)
    blockers: list[str] = field(default_factory=list)
    to_confirm: list[VulnerableProgram] = field(default_factory=list)
    fleet: str = ""


def _select(context: BackupContext, request: RestoreRequest, findings: _Findings) -> Selection:
    """Choose the backup of each database and tree. Raises ``UsageError`` if there is nothing to restore."""
    given = read_given(
        context, request.backup_id, from_host=request.from_host, other_hosts=not request.in_fleet
    )
    findings.fleet = given.id if given and given.fleet else ""
    aliases, trees = select_parts(context.config, request.only, given)
    selected = select_copies(context, given, databases=aliases, trees=trees, from_host=request.from_host)
    if not (selected.databases or selected.trees):
        raise _nothing_chosen(request.only, given)
    findings.notes += [*selected.notes, *missing_part_notes(context.config, request.only, given)]
    if context.journals.unfinished():
        findings.notes.append(
            "An earlier restore or undo was interrupted. restore_all first completes that one, or removes"
            " what it had prepared."
        )
    return selected


def _nothing_chosen(only: str, given: Given | None) -> UsageError:
    """Return the error for a restore whose ``--only`` chooses no database and no tree.

    ``given`` is the backup that the user has named, if any.
    """
    if given is None:
        hint = "Add it to the settings, or give another --only."
        return UsageError(f"The settings name no database or tree that --only {only} chooses.", hint=hint)
    of_host = (
        " To restore the part of a host that is gone or was renamed: --from-host." if given.fleet else ""
    )
    return UsageError(
        f"{given.name} has no complete copy of a database or tree that --only {only} chooses.",
        hint="Choose another backup (list_backups) or --only, or add the databases and trees of the backup to"
        f" IGNY8_BACKUP['DATABASES'] and SITES.{of_host}",
    )


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
        findings.notes += [*notes, *engine.plan_notes(restored), *removed_apps(restored)]
        origin = check_origin(context, engine, manifest)
        restored, notes = without_risky_settings(restored, origin)
        findings.notes += notes
        findings.notes += origin.notes
        findings.blockers += origin.blockers
        findings.to_confirm += origin.to_confirm
        findings.blockers += engine.blockers(part, restored)
        findings.blockers += [f"{part.alias}: {text}" for text in missing_migrations(restored)]
        target = engine.target()
        twin = aliases.setdefault(engine.identity(), part.alias)
        if twin != part.alias:
            findings.blockers.append(
                f"{twin!r} and {part.alias!r} are the same database, {target.name}: give --only {twin}."
            )
        plans.append(
            DatabasePlan(
                backup_id=manifest.id,
                part=part,
                details=restored,
                target=target,
                target_state=engine.target_state(part, restored),
                selection=RestoreSelection(owners=overrides.owners, untrusted=origin.untrusted),
            )
        )
    return plans


def _plan_trees(
    context: BackupContext,
    selected: Selection,
    details: Mapping[str, Details],
    databases: Sequence[DatabasePlan],
    findings: _Findings,
) -> list[TreePlan]:
    roots = {**context.config.sites, **context.config.logs}
    plans: list[TreePlan] = []
    for manifest, part in selected.trees:
        root = roots[part.name]
        described = details[manifest.id].tree(part.name)
        own = context.journals.kept_in(root)
        findings.blockers += tree_blockers(root, own, swap_root=part.name in context.config.swap_whole)
        findings.blockers += name_blockers(root, described)
        excluded_files, excluded_bytes = excluded_live_files(context.config, part, described, root, own)
        item = TreePlan(
            backup_id=manifest.id,
            part=part,
            root=root,
            empty=is_empty(root, own),
            seconds_after_database=seconds_after(part, (item.part for item in databases)),
            excluded_files=excluded_files,
            excluded_bytes=excluded_bytes,
        )
        findings.notes += excluded_notes(item)
        plans.append(item)
    return plans


def _objects(selected: Selection) -> list[StoredObject]:
    """Return the objects in storage that the restore will read."""
    dumps = [item for _, part in selected.databases for item in (*part.archives, *part.stored_packs)]
    return dumps + [item for _, tree in selected.trees for item in (tree.stored_index, *tree.stored_packs)]
