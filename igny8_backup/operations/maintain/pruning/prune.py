"""Remove the backups that the retention policy no longer keeps, then objects that no backup needs.

:func:`prune` is the entry point; :mod:`igny8_backup.retention` decides which backups are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from igny8_backup.common.garbage import fewer_collections
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.scratch import remove_killed_drills
from igny8_backup.operations.history.presence import lost_text
from igny8_backup.operations.history.storage_memory import find_lost
from igny8_backup.operations.maintain.hidden import hidden_backups, hidden_text
from igny8_backup.operations.maintain.inventory import Inventory, read_settled
from igny8_backup.operations.maintain.orphans import OrphanObject
from igny8_backup.operations.maintain.pruning.collect import collect_documents
from igny8_backup.operations.maintain.pruning.locked import LockedObject, locked_manifests
from igny8_backup.operations.maintain.pruning.old_records import forget_old_records
from igny8_backup.operations.maintain.pruning.remove import POLICY, REPLACED, remove_backup, why_not_removable
from igny8_backup.operations.maintain.pruning.sweep import Sweep, plan_sweep, sweep
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.read.snapshot import take_snapshot
from igny8_backup.retention.policy import Plan

_UNSIGNED = (
    " Without a signed record of the removal it would be reported as lost. Run prune_backups on a host whose"
    " key may sign it."
)


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """The backups and orphans that were removed, or would be in a dry run.

    ``removed`` are the ids of the removed backups, ``swept`` the removed orphans, ``waiting`` the orphans
    that a later run will remove. ``unreadable`` are the ids of backups without a readable manifest. ``lost``
    are sentences about backups, pins and records of damage that are gone although nobody removed them on
    purpose.

    The policy no longer keeps the backups in ``refused``, but this host must not remove them: their ids are
    mapped to the reasons. ``future`` describes objects that are dated in the future. ``problem`` is the error
    that stopped pruning early. ``locked`` are the manifests and orphans that S3 Object Lock has kept.
    """

    plan: Plan
    removed: tuple[str, ...]
    swept: tuple[OrphanObject, ...]
    waiting: tuple[OrphanObject, ...]
    unreadable: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    future: tuple[str, ...] = ()
    problem: str = ""
    locked: tuple[LockedObject, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether pruning met none of the :meth:`problems`. Locks in the storage are no problem."""
        stopped = self.unreadable or self.lost or self.refused or self.future or self.problem
        return not (self.plan.blocked or stopped)

    @property
    def alarms(self) -> list[Alarm]:
        """One alarm for each database or tree that is not pruned and for each unreadable manifest.

        There is one more for each other kind of the :meth:`problems` that pruning met.
        """
        found = [Alarm(str(block.part), "blocked") for block in self.plan.blocked]
        found += [Alarm(backup_id, "unreadable") for backup_id in self.unreadable]
        found += [Alarm("", "lost backups")] * bool(self.lost)
        found += [Alarm("", "dated in the future")] * bool(self.future)
        found += [Alarm("", "not removed")] * bool(self.refused)
        return found + [Alarm("", "stopped")] * bool(self.problem)

    def problems(self) -> list[str]:
        """Return one line for each problem.

        Problems are backups, pins and records of damage that are gone; backups that this host must not
        remove; databases and trees that are not pruned, for example because their newest backup failed;
        objects dated in the future; unreadable manifests; and the error that stopped pruning early.
        """
        blocked = self.plan.blocked
        lines = [f"LOST: {text}" for text in self.lost]
        lines += [
            f"NOT REMOVED: backup {backup_id}: {reason}.{'' if reason == REPLACED else _UNSIGNED}"
            for backup_id, reason in self.refused.items()
        ]
        lines += [f"BLOCKED: no copy of {block.part} is removed: {block.reason}." for block in blocked]
        lines += [
            f"IN THE FUTURE: {item} is dated later than now, so it is ignored. Check the clocks of the hosts."
            for item in self.future
        ]
        lines += [
            f"UNREADABLE: the manifest of backup {backup_id} cannot be read, or somebody has replaced it."
            " Until the original is back, no pack (tar archive of files) is removed, because the backup may"
            " need it."
            for backup_id in self.unreadable
        ]
        return [*lines, f"STOPPED: {self.problem}"] if self.problem else lines


def prune(context: BackupContext, *, dry_run: bool = False) -> PruneResult:
    """Remove the backups that the policy no longer keeps; with ``dry_run`` only report them, without a lock.

    For each backup, the removal is recorded, then the manifest is deleted, then the objects. Packs (tar
    archives) that no manifest names any more are marked as orphans; a later run removes them. The databases
    and folders of killed drills are removed too.

    Raises ``LockedError``, and ``IdentityError`` if the signing key cannot be used. A storage error is raised
    as ``StorageError`` only if nothing has been removed before. Otherwise it becomes the ``problem`` of the
    result.
    """
    if dry_run:
        context, state = _read(context)
        found = plan_sweep(context)
        return state.result(state.removable, found.due, found)
    with context.locked("pruning") as locks:

        def check() -> None:
            for lock in locks:
                lock.check(unchanged="Nothing else was removed.")

        _, state = _read(context)
        removed: list[str] = []
        swept: list[OrphanObject] = []
        found = Sweep()
        try:
            with _shown(context, "backups", state.removable_bytes):
                for backup_id in state.removable:
                    if remove_backup(context, state.inventory, backup_id, check, reason=POLICY):
                        removed.append(backup_id)
            found = plan_sweep(context)
            with _shown(context, "orphans", sum(item.size or 0 for item in found.due)):
                for item in sweep(context, found, check):
                    swept.append(item)
                    context.progress.advance(item.size or 0)
            remaining = take_snapshot(context)
            forget_old_records(context, remaining, check)
            collect_documents(context, remaining)
        except StorageError as error:
            if not (removed or swept):
                raise
            return state.result(removed, swept, found, problem=str(error))
    remove_killed_drills(context)
    return state.result(removed, swept, found)


@contextmanager
def _shown(context: BackupContext, what: str, total: int) -> Iterator[None]:
    """Show how much of ``what`` is removed, of ``total`` bytes."""
    context.progress.begin(f"removal of {what}", total)
    try:
        yield
    finally:
        context.progress.end()


@dataclass(frozen=True)
class _State:
    """The inventory of the storage before anything is removed, and what pruning may remove according to it.

    The fields other than ``inventory`` are explained in :class:`PruneResult`.
    """

    inventory: Inventory
    plan: Plan
    refused: dict[str, str]
    lost: tuple[str, ...]
    locked: tuple[LockedObject, ...]

    @property
    def removable(self) -> list[str]:
        locked = {item.key for item in self.locked}
        return [
            backup_id
            for backup_id in self.plan.to_remove
            if backup_id not in self.refused and keys.manifest_key(backup_id) not in locked
        ]

    @property
    def removable_bytes(self) -> int:
        """The size of the objects that only the removable backups need, in bytes, without packs."""
        chosen = set(self.removable)
        return sum(
            item.stored_bytes
            for manifest in self.inventory.manifests
            if manifest.id in chosen
            for item in manifest.own_objects()
            if item.key.startswith(keys.backup_folder(manifest.id))
        )

    def result(
        self, removed: Sequence[str], swept: Sequence[OrphanObject], found: Sweep, problem: str = ""
    ) -> PruneResult:
        return PruneResult(
            plan=self.plan,
            removed=tuple(removed),
            swept=tuple(swept),
            waiting=found.waiting,
            unreadable=found.unreadable,
            lost=self.lost,
            refused=self.refused,
            future=self.inventory.future,
            problem=problem,
            locked=self.locked + found.locked,
        )


@fewer_collections()
def _read(context: BackupContext) -> tuple[BackupContext, _State]:
    """Return the state, and a context that shows the storage as it was then."""
    context, inventory = read_settled(context)
    remembered = find_lost(context)
    plan = inventory.plan(context.config)
    refused = {
        backup_id: reason
        for backup_id in plan.to_remove
        if (reason := why_not_removable(context, inventory, backup_id))
    }
    own = {item.id for item in remembered}
    lost = [item.text for item in remembered]
    lost += [lost_text(context, run) for run in inventory.lost if run.id not in own]
    lost += inventory.vanished.texts(context.store.describe())
    own |= {run.id for run in inventory.lost}
    hidden = hidden_backups(context, {entry.id for entry in inventory.entries}).keys() - own
    lost += [hidden_text(context, backup_id) for backup_id in sorted(hidden)]
    locked = locked_manifests(context, plan.to_remove)
    return context, _State(inventory, plan, refused, tuple(lost), locked)
