"""Remove the backups that the retention policy no longer keeps, then objects that no backup needs.

:func:`prune` is the entry point; :mod:`igny8_backup.retention` decides which backups are kept.
"""

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
from igny8_backup.operations.notify.mailed_alarms import Alarm
from igny8_backup.retention import Plan

RECORDS_KEPT = timedelta(days=90)
"""The age at which the record of a run whose backup is gone is deleted. The record of the newest run of each
database and tree is always kept."""


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """The backups and orphans that were removed, or would be in a dry run.

    ``removed`` are ids of backups, ``swept`` the removed orphans, ``waiting`` the orphans that a later run
    will remove, ``unreadable`` the ids of backups without a readable manifest. ``problem`` is the error that
    stopped pruning early.
    """

    plan: Plan
    removed: tuple[str, ...]
    swept: tuple[OrphanObject, ...]
    waiting: tuple[OrphanObject, ...]
    unreadable: tuple[str, ...] = ()
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing prevented the removal of a backup or tar archive."""
        return not (self.plan.blocked or self.unreadable or self.problem)

    @property
    def alarms(self) -> list[Alarm]:
        """Alarms for databases and trees that may not be pruned, unreadable manifests and an early stop."""
        found = [Alarm(str(block.part), "blocked") for block in self.plan.blocked]
        found += [Alarm(backup_id, "unreadable") for backup_id in self.unreadable]
        return found + [Alarm("", "stopped")] * bool(self.problem)

    def problems(self) -> list[str]:
        """Return one line for each problem that kept backups from being removed.

        Problems are databases and trees whose newest backup failed or is too old, unreadable manifests,
        backups dated in the future, and the error that stopped pruning early.
        """
        blocked = self.plan.blocked
        lines = [f"BLOCKED: no copy of {block.part} is removed: {block.reason}." for block in blocked]
        lines += [
            f"IN THE FUTURE: backup {backup_id} is ignored and not removed; check the clocks."
            for backup_id in self.plan.future
        ]
        lines += [
            f"UNREADABLE: the manifest of backup {backup_id}; until it can be read, no pack is removed."
            for backup_id in self.unreadable
        ]
        return [*lines, f"STOPPED: {self.problem}"] if self.problem else lines


def prune(context: BackupContext, *, dry_run: bool = False) -> PruneResult:
    """Remove the backups that the policy no longer keeps; with ``dry_run`` only report them, without a lock.

    The manifest of a backup is deleted first, then its objects. Packs (tar archives) that no manifest names
    any more are marked as orphans, which a later run removes. The databases and folders of killed drills are
    removed too.

    Raises ``LockedError``, and ``StorageError`` if nothing has been removed yet. A later storage error is
    reported as the ``problem`` of the result.
    """
    if dry_run:
        plan, found = read_inventory(context).plan(context.config), plan_sweep(context)
        return _result(plan, list(plan.to_remove), list(found.due), found)
    with context.locked("pruning") as locks:

        def check() -> None:
            for lock in locks:
                lock.check(unchanged="Nothing else was removed.")

        plan = read_inventory(context).plan(context.config)
        removed: list[str] = []
        swept: list[OrphanObject] = []
        found = Sweep()
        try:
            for backup_id in plan.to_remove:
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
    """Delete the manifest of a backup, and with it the backup; return whether it was deleted.

    The backup is kept if it has been pinned since the plan was made, or if its run has not ended.
    """
    run = context.catalog.run(backup_id)
    if context.store.exists(keys.pin_key(backup_id)) or (run and run.is_alive(context.clock())):
        return False
    check()
    if run:  # first, because verify_backup reports a manifest that is missing without this note
        pruned = replace(run, pruned=context.clock())
        context.store.put_small(keys.run_key(backup_id), records.to_json(pruned))
    context.store.delete(keys.manifest_key(backup_id))
    return True


def _remove_rest(context: BackupContext, backup_id: str, check: Callable[[], None]) -> None:
    """Delete all objects in the folder of a backup. After an interruption the rest are orphans."""
    for item in list(context.store.list(keys.backup_folder(backup_id))):
        check()
        context.store.delete(item.key)


def _forget_runs(context: BackupContext, check: Callable[[], None]) -> None:
    """Delete old run records whose backups are gone, except the newest of each database and tree."""
    existing = {entry.id for entry in context.catalog.entries()}
    seen: set[tuple[str, str]] = set()
    for run in context.catalog.runs():
        parts = {(run.host, name) for name in run.requested}
        if run.id not in existing and parts <= seen and context.clock() - run.started > RECORDS_KEPT:
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
