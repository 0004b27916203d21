"""Removes the backups that the policy gives up, and sweeps what no manifest names any more (laws 1 and 8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from igny8_backup import keys, records, retention
from igny8_backup.catalog import Entry
from igny8_backup.errors import StorageError
from igny8_backup.manifest import COMPLETE, INCOMPLETE, Manifest, RunRecord
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.operations.litter import Loose
from igny8_backup.operations.sweep import Sweep, plan_sweep, sweep
from igny8_backup.remarks import Remarks, read_remarks
from igny8_backup.retention import Backup, Part, Plan

RUNS_STAY = timedelta(days=90)
"""How long the record of a run outlasts its backup; that of the newest run of a part always does."""


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """``removed`` are ids, ``swept`` the litter that is gone, ``waiting`` what was marked for a later run. In
    a dry run both are what would be. ``problem`` says why it stopped before the end."""

    plan: Plan
    removed: tuple[str, ...]
    swept: tuple[Loose, ...]
    waiting: tuple[Loose, ...]
    unreadable: tuple[str, ...] = ()
    problem: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing stood in the way."""
        return not (self.plan.blocked or self.unreadable or self.problem)


def prune(kit: Toolkit, *, dry_run: bool = False) -> PruneResult:
    """Removes what the plan gives up; with ``dry_run`` tells what that would be, and takes no lock.

    A backup goes with its manifest first, then its own objects; packs that nothing names after that are
    litter: marked now, removed by a later run. Raises ``LockedError``, and ``StorageError`` while nothing has
    been removed; after that the result has it as its ``problem``.
    """
    if dry_run:
        plan, found = plan_prune(kit), plan_sweep(kit)
        return _result(plan, list(plan.going), list(found.due), found)
    with kit.locked("pruning") as locks:

        def check() -> None:
            for lock in locks:
                lock.check()

        plan = plan_prune(kit)
        removed: list[str] = []
        swept: list[Loose] = []
        found = Sweep()
        try:
            for backup_id in plan.going:
                if _remove_manifest(kit, backup_id, check):
                    removed.append(backup_id)
                    _remove_rest(kit, backup_id, check)
            found = plan_sweep(kit)
            swept.extend(sweep(kit, found, check))
            _forget_runs(kit, check)
        except StorageError as error:
            if not (removed or swept):
                raise
            return _result(plan, removed, swept, found, problem=str(error))
    return _result(plan, removed, swept, found)


def plan_prune(kit: Toolkit) -> Plan:
    """Every backup of the storage, whether it stays, and why. Reads only."""
    now, entries, remarks, runs = (
        kit.clock(),
        kit.catalog.entries(),
        read_remarks(kit.store),
        kit.catalog.runs(),
    )
    backups = [_backup(entry, remarks.get(entry.id, Remarks())) for entry in entries]
    manifests = {entry.id: entry.manifest for entry in entries if entry.manifest}
    failed = _failing(runs, manifests, now)
    parts = {part for item in backups for part in item.parts}
    return retention.plan(
        backups,
        kit.config.retention,
        now,
        failing={part for part in parts if (part.host, part.name) in failed},
        max_age=kit.config.max_age_of,
    )


def parts_of(manifest: Manifest) -> tuple[Part, ...]:
    """The complete parts of a backup: one with files that could not be read counts as complete."""
    host = manifest.host
    found = [
        Part(host=host, kind="database", name=part.alias)
        for part in manifest.databases
        if part.state == COMPLETE
    ]
    found += [
        Part(host=host, kind="files", name=part.name) for part in manifest.trees if part.state == COMPLETE
    ]
    return tuple(found)


def _backup(entry: Entry, remarks: Remarks) -> Backup:
    if entry.manifest is None:
        return Backup(id=entry.id, started=entry.started, held="its manifest cannot be read")
    held = f"pinned: {remarks.pin.reason}" if remarks.pin else ""
    return Backup(id=entry.id, started=entry.started, parts=parts_of(entry.manifest), held=held)


def _failing(runs: list[RunRecord], manifests: dict[str, Manifest], now: datetime) -> set[tuple[str, str]]:
    """Host and name of each part whose newest run failed; ``runs`` are the newest first.

    A run that is under way has not failed yet, and one that is dated in the future tells nothing. A name can
    be that of a database and of a tree: then both are said to fail.
    """
    settled: dict[tuple[str, str], bool] = {}
    for run in runs:
        if run.started > now or (run.is_alive(now) and run.id not in manifests):
            continue
        for name in run.requested:
            settled.setdefault((run.host, name), _failed(run, name, manifests.get(run.id)))
    return {part for part, failed in settled.items() if failed}


def _failed(run: RunRecord, name: str, manifest: Manifest | None) -> bool:
    if manifest is not None:  # the manifest knows better than a run that could not say how it ended
        parts = [(part.alias, part.state) for part in manifest.databases]
        parts += [(part.name, part.state) for part in manifest.trees]
        return any(state != COMPLETE for part, state in parts if part == name)
    return run.outcome not in (COMPLETE, INCOMPLETE) or name in run.errors


def _remove_manifest(kit: Toolkit, backup_id: str, check: Callable[[], None]) -> bool:
    """Ends the existence of a backup, unless it was pinned meanwhile or its run has not ended."""
    run = kit.catalog.run(backup_id)
    if kit.store.exists(keys.pin_key(backup_id)) or (run and run.is_alive(kit.clock())):
        return False
    check()
    if run:  # first: a manifest that is missing without this was lost
        kit.store.put_small(keys.run_key(backup_id), records.to_json(replace(run, pruned=kit.clock())))
    kit.store.delete(keys.manifest_key(backup_id))
    return True


def _remove_rest(kit: Toolkit, backup_id: str, check: Callable[[], None]) -> None:
    """Removes all that lies in the folder of a backup; what an interruption leaves there is litter."""
    for item in list(kit.store.list(keys.backup_folder(backup_id))):
        check()
        kit.store.delete(item.key)


def _forget_runs(kit: Toolkit, check: Callable[[], None]) -> None:
    """Removes old records of runs whose backups are gone; never that of the newest run of a part."""
    existing = {entry.id for entry in kit.catalog.entries()}
    seen: set[tuple[str, str]] = set()
    for run in kit.catalog.runs():
        parts = {(run.host, name) for name in run.requested}
        if run.id not in existing and parts <= seen and kit.clock() - run.started > RUNS_STAY:
            check()
            kit.store.delete(keys.run_key(run.id))
        seen |= parts


def _result(
    plan: Plan, removed: list[str], swept: list[Loose], found: Sweep, problem: str = ""
) -> PruneResult:
    return PruneResult(
        plan=plan,
        removed=tuple(removed),
        swept=tuple(swept),
        waiting=found.waiting,
        unreadable=found.unreadable,
        problem=problem,
    )
