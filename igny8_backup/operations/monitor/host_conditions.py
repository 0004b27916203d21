"""The conditions of one host: its newest run, its clock, and backups of it that are gone from storage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from igny8_backup.common.clock_skew import TOLERANCE
from igny8_backup.common.humanize import age_in_words, duration_in_words, listed
from igny8_backup.formats import keys
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.operations.maintain.inventory import Inventory
from igny8_backup.operations.monitor.health import Condition


@dataclass(frozen=True, kw_only=True)
class HostState:
    """A host that should make backups, and what is known about its runs and its missing backups.

    ``newest`` is its newest run, ``settled`` its newest run that has ended. ``gone`` are the ids of backups
    that have a run record and that storage lacks, although nobody pruned them. ``missed`` are the ids of
    earlier backups that the run ``settled`` did not find in storage. Backups that are back in storage, or
    recorded as removed, are not among them.
    """

    name: str
    newest: RunRecord | None
    settled: RunRecord | None
    gone: frozenset[str]
    missed: frozenset[str]


def host_states(inventory: Inventory) -> Iterator[HostState]:
    """Yield the state of each host that should make backups."""
    newest, settled = _first_of_each(inventory.runs), _first_of_each(inventory.settled_runs())
    lost = {run.id for run in inventory.lost}
    explained = {entry.id for entry in inventory.entries}
    explained |= {run.id for run in inventory.runs if run.stored_manifest and run.id not in lost}
    gone: defaultdict[str, set[str]] = defaultdict(set)
    for run in inventory.lost:
        gone[run.host].add(run.id)
    for host in inventory.hosts.expected:
        ended = settled.get(host)
        yield HostState(
            name=host,
            newest=newest.get(host),
            settled=ended,
            gone=frozenset(gone[host]),
            missed=frozenset(ended.missing if ended else ()) - explained,
        )


def host_conditions(
    host: HostState, inventory: Inventory, remembered: Iterable[str] | None
) -> Iterator[Condition]:
    """Check the newest run of a host, its clock, and whether its backups still exist.

    If ``host`` is this machine, ``remembered`` are the ids of backups that this machine remembers and that
    are gone from storage. If ``remembered`` is ``None``, as for every other host, the backups in
    ``host.missed`` are reported instead.
    """
    name = f"host {host.name}"
    if host.name not in inventory.hosts.seen:
        yield Condition("run", name, False, "it has never run a backup")
        return
    if hidden := [keys.run_key(run_id) for run_id in inventory.hidden_runs(host.name)]:
        text = f"damaged run records may hide a failed run: {listed(hidden)}. The next run ends this alarm"
        yield Condition("run", name, False, text)
    elif host.settled:
        # Files that could not be read make a run incomplete, but not its trees.
        text = f"{host.settled.id} ended {host.settled.outcome}"
        yield Condition("run", name, host.settled.outcome == COMPLETE, text)
    gone = sorted(host.gone | set(host.missed if remembered is None else remembered), reverse=True)
    text = (
        f"gone, and no valid record says that prune_backups removed them: {listed(gone)}"
        if gone
        else "no backup is gone from storage"
    )
    yield Condition("lost", name, not gone, text)
    if host.newest:
        yield _clock_condition(host.newest, inventory)


def retired_condition(host: str, inventory: Inventory) -> Condition:
    """Return the condition that shows ``host`` as taken out of service. The condition is always ``ok``."""
    seen = age_in_words(inventory.hosts.seen[host], inventory.now)
    reason = inventory.hosts.reasons.get(host, "")
    text = f"its newest run was {seen} ago, and no further run is expected{f': {reason}' if reason else ''}"
    return Condition("retired", f"host {host}", True, text)


def doubted_retirements(inventory: Inventory) -> Iterator[Condition]:
    """Yield a failed condition for each expected host that an untrusted record says is retired."""
    for host, why in sorted(inventory.hosts.doubts.items()):
        text = f"a record says that it is retired, which does not count: {why}"
        yield Condition("retired", f"host {host}", False, text)


def _first_of_each(runs: Iterable[RunRecord]) -> dict[str, RunRecord]:
    found: dict[str, RunRecord] = {}
    for run in runs:
        found.setdefault(run.host, run)
    return found


def _clock_condition(run: RunRecord, inventory: Inventory) -> Condition:
    """Check whether the clock of a host is ahead of the clock of the storage or of this machine.

    The newest run record of the host contains the time of its clock. A clock that is behind cannot be
    detected, because a copied storage looks the same: its files are younger than the times in the records.
    """
    written = inventory.written.get(keys.run_key(run.id)) or inventory.now
    ahead = run.heartbeat - min(written, inventory.now)
    text = f"{duration_in_words(ahead)} ahead" if ahead > TOLERANCE else "not ahead"
    return Condition("clock", f"host {run.host}", ahead <= TOLERANCE, text)
