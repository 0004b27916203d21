"""Build the staging databases and trees of a restore, check them, and plan the swap of each tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from igny8_backup.databases.names import PREVIOUS, STAGING
from igny8_backup.formats import keys
from igny8_backup.journal import PREPARING, DatabaseSwap, Journal, TreeSwap
from igny8_backup.journal import SCHEMA as JOURNAL_SCHEMA
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.plan import DatabasePlan, RestorePlan, TreePlan
from igny8_backup.operations.staging import sandbox, sanitize
from igny8_backup.operations.staging.load import load_staging
from igny8_backup.operations.staging.probe_checks import without_answers
from igny8_backup.signals import RESTORE, announced
from igny8_backup.trees.swap.target import SwapTarget


def new_journal(context: BackupContext, plan: RestorePlan) -> Journal:
    """Return the journal (the record of steps) of a restore that is about to begin, not yet written."""
    stamp = _unused_stamp(context)
    return Journal(
        schema=JOURNAL_SCHEMA,
        stamp=stamp,
        phase=PREPARING,
        started=context.clock(),
        backup_ids=plan.backup_ids,
        databases=tuple(_database_swap(context, item, stamp) for item in plan.databases),
        trees=tuple(_tree_swap(context, item, stamp) for item in plan.trees),
    )


def build_staging(context: BackupContext, plan: RestorePlan, journal: Journal) -> Journal:
    """Restore all databases and trees of ``plan`` beside the live ones; migrate and sanitize the databases.

    Returns the journal with the swap plans of the trees. Raises ``BackupError``; ``IntegrityError`` if a
    restored database differs from the backup.
    """
    staging = {swap.alias: swap.staging for swap in journal.databases}
    for item in plan.databases:
        _build_database(context, plan, item, staging[item.part.alias])
    _migrate(context, plan, staging)
    if plan.sanitize:
        with announced(RESTORE, "sanitize", plan.backup_ids):
            sanitize.sanitize(context, staging)
    swaps = {swap.name: swap for swap in journal.trees}
    trees = [_build_tree(context, plan, item, swaps[item.part.name], journal.stamp) for item in plan.trees]
    return replace(journal, trees=tuple(trees))


def _database_swap(context: BackupContext, item: DatabasePlan, stamp: str) -> DatabaseSwap:
    engine = context.engine(item.part.alias)
    return DatabaseSwap(
        alias=item.part.alias,
        name=item.target.name,
        staging=engine.derived_name(STAGING, stamp),
        previous=engine.derived_name(PREVIOUS, stamp),
        existed=item.target.exists,
        # The journal is not encrypted, and answers of probes may be personal data.
        details=without_answers(item.details),
        place=engine.identity(),
    )


def _tree_swap(context: BackupContext, item: TreePlan, stamp: str) -> TreeSwap:
    swap_root = item.part.name in context.config.swap_whole
    target = SwapTarget(root=item.root, stamp=stamp, swap_root=swap_root)
    return TreeSwap(
        name=item.part.name, root=str(item.root), previous=str(target.previous), swap_root=swap_root
    )


def _unused_stamp(context: BackupContext) -> str:
    """Return a stamp (start time) for a restore, later than those of all restores in the journal folder.

    The order of stamps decides which restore is undone first. Two restores may begin within a second, and the
    clock may have been set back.
    """
    newest = max((journal.stamp for journal in context.journals.all()), default="")
    now = keys.stamp(context.clock())
    return now if now > newest else keys.stamp(keys.stamp_time(newest) + timedelta(seconds=1))


def _build_database(context: BackupContext, plan: RestorePlan, item: DatabasePlan, staging: str) -> None:
    alias = item.part.alias
    engine = context.engine(alias)
    engine.create_staging(staging, item.details)
    left_out = load_staging(
        context,
        engine,
        staging,
        item.part,
        item.details,
        list(plan.identities),
        selection=item.selection,
        # Statistics collected before sanitizing would contain values that sanitizing removes.
        analyze=not (plan.sanitize and sanitize.has_sanitizers(context.config, alias)),
    )
    if left_out:
        context.progress.note(
            f"{alias}: not restored: {', '.join(left_out)}. Create these objects by hand after the restore."
        )


def _migrate(context: BackupContext, plan: RestorePlan, staging: Mapping[str, str]) -> None:
    migrated = {
        item.part.alias: staging[item.part.alias] for item in plan.databases if item.details.migrations
    }
    if migrated:
        context.progress.note("Migrating the restored databases to the schema of the code.")
        with announced(RESTORE, "migrate", plan.backup_ids):
            sandbox.migrate(migrated)


def _build_tree(
    context: BackupContext, plan: RestorePlan, item: TreePlan, swap: TreeSwap, stamp: str
) -> TreeSwap:
    context.progress.begin(f"files {item.part.name}", item.part.bytes)
    try:
        swap_plan = restore_tree.build_staging_tree(
            context,
            item.part,
            restore_tree.target_of(swap, stamp),
            list(plan.identities),
            context.progress.advance,
            allow_set_id=plan.allow_set_id,
        )
    finally:
        context.progress.end()
    return replace(swap, plan=swap_plan)
