"""Removes the backups that the policy gives up, and sweeps what no manifest names any more (laws 1 and 8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys, records
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.scratch import remove_killed_drills
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.orphans import OrphanObject
from igny8_backup.operations.maintain.sweep import Sweep, plan_sweep, sweep
from igny8_backup.retention import Plan

RUNS_STAY = timedelta(days=90)
"""How long the record of a run outlasts its backup; that of the newest run of a part always does."""


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """``removed`` are ids, ``swept`` the orphans that is gone, ``waiting`` what was marked for a later run. In
    a dry run both are what would be. ``problem`` says why it stopped before the end."""

    plan: Plan
    removed: tuple[str, ...]
    swept: tuple[OrphanObject, ...]
    waiting: tuple[OrphanObject, ...]
    unreadable: tuple[str, ...] = ()
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing stood in the way."""
        return not (self.plan.blocked or self.unreadable or self.problem)

    def problems(self) -> list[str]:
        """What stood in the way, and what is odd, a line each."""
        lines = [f"BLOCKED: no copy of {block.part} goes: {block.reason}." for block in self.plan.blocked]
        lines += [
            f"IN THE FUTURE: backup {backup_id} neither counts nor goes; look at the clocks."
            for backup_id in self.plan.future
        ]
        lines += [
            f"UNREADABLE: the manifest of backup {backup_id}; until it can be read no pack goes."
            for backup_id in self.unreadable
        ]
        return [*lines, f"STOPPED: {self.problem}"] if self.problem else lines


def prune(context: BackupContext, *, dry_run: bool = False) -> PruneResult:
    """Removes what the plan gives up; with ``dry_run`` tells what that would be, and takes no lock.

    A backup goes with its manifest first, then its own objects; packs that nothing names after that are
    litter: marked now, removed by a later run. What killed drills left on this host and beside its databases
    goes too. Raises ``LockedError``, and ``StorageError`` while nothing has
    been removed; after that the result has it as its ``problem``.
    """
    if dry_run:
        plan, found = read_inventory(context).plan(context.config), plan_sweep(context)
        return _result(plan, list(plan.going), list(found.due), found)
    with context.locked("pruning") as locks:

        def check() -> None:
            for lock in locks:
                lock.check()

        plan = read_inventory(context).plan(context.config)
        removed: list[str] = []
        swept: list[OrphanObject] = []
        found = Sweep()
        try:
            for backup_id in plan.going:
                if _remove_manifest(context, backup_id, check):
                    removed.append(backup_id)
                    _remove_rest(context, backup_id, check)
            found = plan_sweep(context)
            swept.extend(sweep(context, found, check))
            _forget_runs(context, check)
        except StorageError as error:
            if not (removed or swept):
                raise
            return _result(plan, removed, swept, found, problem=str(error))
    remove_killed_drills(context)
    return _result(plan, removed, swept, found)


def _remove_manifest(context: BackupContext, backup_id: str, check: Callable[[], None]) -> bool:
    """Ends the existence of a backup, unless it was pinned meanwhile or its run has not ended."""
    run = context.catalog.run(backup_id)
    if context.store.exists(keys.pin_key(backup_id)) or (run and run.is_alive(context.clock())):
        return False
    check()
    if run:  # first: a manifest that is missing without this was lost
        context.store.put_small(
            keys.run_key(backup_id), records.to_json(replace(run, pruned=context.clock()))
        )
    context.store.delete(keys.manifest_key(backup_id))
    return True


def _remove_rest(context: BackupContext, backup_id: str, check: Callable[[], None]) -> None:
    """Removes all that lies in the folder of a backup; what an interruption leaves there is litter."""
    for item in list(context.store.list(keys.backup_folder(backup_id))):
        check()
        context.store.delete(item.key)


def _forget_runs(context: BackupContext, check: Callable[[], None]) -> None:
    """Removes old records of runs whose backups are gone; never that of the newest run of a part."""
    existing = {entry.id for entry in context.catalog.entries()}
    seen: set[tuple[str, str]] = set()
    for run in context.catalog.runs():
        parts = {(run.host, name) for name in run.requested}
        if run.id not in existing and parts <= seen and context.clock() - run.started > RUNS_STAY:
            check()
            context.store.delete(keys.run_key(run.id))
        seen |= parts


def _result(
    plan: Plan, removed: list[str], swept: list[OrphanObject], found: Sweep, problem: str = ""
) -> PruneResult:
    return PruneResult(
        plan=plan,
        removed=tuple(removed),
        swept=tuple(swept),
        waiting=found.waiting,
        unreadable=found.unreadable,
        problem=problem,
    )
