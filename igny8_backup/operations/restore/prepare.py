"""Build the staging databases and trees of a restore, check them, and plan the swap of each tree."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from igny8_backup.databases.names import PREVIOUS, STAGING
from igny8_backup.formats import keys
from igny8_backup.journal import PREPARING, DatabaseSwap, Journal, TreeSwap
from igny8_backup.journal import SCHEMA as JOURNAL_SCHEMA
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.expected_sizes import sizes_of_copy
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.planning.plan import DatabasePlan, RestorePlan, TreePlan
from igny8_backup.operations.staging.load import UNFILLED, add_unfilled_views, load_staging
from igny8_backup.operations.staging.probe_checks import without_answers
from igny8_backup.operations.staging.project_code import sandbox, sanitize
from igny8_backup.signals import RESTORE, announced
from igny8_backup.trees.swap.target import SwapTarget


def new_journal(context: BackupContext, plan: RestorePlan) -> Journal:
    """Return a new journal (the record of steps) for the restore ``plan``. The journal is not written yet."""
    stamp = _unused_stamp(context, plan)
    journal = Journal(
        schema=JOURNAL_SCHEMA,
        stamp=stamp,
        phase=PREPARING,
        started=context.clock(),
        backup_ids=plan.backup_ids,
        databases=tuple(_database_swap(context, plan, item, stamp) for item in plan.databases),
        trees=tuple(_tree_swap(context, item, stamp) for item in plan.trees),
        fleet_backup=plan.fleet,
    )
    return context.journals.in_turn(journal, context.clock())


def build_staging(context: BackupContext, plan: RestorePlan, journal: Journal) -> Journal:
    """Restore all databases and trees of ``plan`` into staging; migrate and sanitize the databases.

    Returns the journal with the swap plans of the trees. Raises ``IntegrityError`` if a restored database
    differs from the backup, and other subclasses of ``BackupError``.
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


def _database_swap(context: BackupContext, plan: RestorePlan, item: DatabasePlan, stamp: str) -> DatabaseSwap:
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
        # Sanitizing may remove rows.
        expected=sizes_of_copy(item.backup_id, item.part, known=not plan.sanitize),
    )


def _tree_swap(context: BackupContext, item: TreePlan, stamp: str) -> TreeSwap:
    swap_root = item.part.name in context.config.swap_whole
    target = SwapTarget(root=item.root, stamp=stamp, swap_root=swap_root)
    return TreeSwap(
        name=item.part.name,
        root=str(item.root),
        previous=str(target.previous),
        swap_root=swap_root,
        expected=sizes_of_copy(item.backup_id, item.part),
        excluded_files=item.excluded_files,
        excluded_bytes=item.excluded_bytes,
    )


def _unused_stamp(context: BackupContext, plan: RestorePlan) -> str:
    """Return a stamp (start time) for a restore, later than those of all restores in the journal folder.

    Journals are named after their stamps and sorted by them. The present time does not suffice as a stamp,
    because two restores can begin within a second, and the clock can have been set back. No staging or
    previous folder with the returned stamp exists yet.
    """
    newest = max((journal.stamp for journal in context.journals.all()), default="")
    stamp = keys.stamp(context.clock())
    if stamp <= newest:
        stamp = _next_stamp(newest)
    while any(os.path.lexists(path) for item in plan.trees for path in _folders(context, item, stamp)):
        stamp = _next_stamp(stamp)  # a user of the application may have made a folder of such a name
    return stamp


def _next_stamp(stamp: str) -> str:
    return keys.stamp(keys.stamp_time(stamp) + timedelta(seconds=1))


def _folders(context: BackupContext, item: TreePlan, stamp: str) -> tuple[Path, Path]:
    """Return the paths of the staging folder and of the previous folder of a tree for this stamp."""
    swap_root = item.part.name in context.config.swap_whole
    target = SwapTarget(root=item.root, stamp=stamp, swap_root=swap_root)
    return target.staging, target.previous


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
        will_be_live=True,
    )
    add_unfilled_views(context, alias, left_out)
    if objects := [label for label in left_out if not label.startswith(UNFILLED)]:
        context.progress.note(
            f"{alias}: these objects of the backup were not restored: {', '.join(objects)}. Create them by"
            " hand after the restore."
        )


def _migrate(context: BackupContext, plan: RestorePlan, staging: Mapping[str, str]) -> None:
    migrated = {
        item.part.alias: staging[item.part.alias] for item in plan.databases if item.details.migrations
    }
    if migrated and plan.migrate:
        context.progress.note("Migrating the restored databases to the schema of the code.")
        with announced(RESTORE, "migrate", plan.backup_ids):
            sandbox.migrate(migrated, {}, note=context.progress.note)


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
