"""Check the health of all backups: age, size, failures, verifications, objects, clocks.

:func:`monitor` is the entry point. It also reports missing backups. They can be missing because no run has
started for too long, because a host has never run a backup, or because somebody has deleted them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from igny8_backup.catalog.checked import PartCheck
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.common.garbage import fewer_collections
from igny8_backup.common.humanize import age_in_words, count_in_words, listed
from igny8_backup.conf import Config
from igny8_backup.errors import StorageError
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.listed_packs import count_once
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.storage_memory import LostBackup, find_lost, remembers
from igny8_backup.operations.maintain.inventory import Inventory, read_inventory
from igny8_backup.operations.monitor.copy_conditions import copy_conditions
from igny8_backup.operations.monitor.fleet_conditions import fleet_conditions
from igny8_backup.operations.monitor.health import Condition, Health, PartCopy
from igny8_backup.operations.monitor.host_conditions import (
    doubted_retirements,
    host_conditions,
    host_states,
    retired_condition,
)
from igny8_backup.operations.monitor.part_conditions import (
    PartState,
    check_conditions,
    object_conditions,
    run_conditions,
)
from igny8_backup.retention.policy import Part
from igny8_backup.standing import CopyStanding
from igny8_backup.standing.damage import keys_of, own_keys_of


def monitor(context: BackupContext) -> Health:
    """Check all conditions, also those of copies. An unreachable storage is a failed condition, not an error.

    All databases and trees of the expected hosts are checked. These hosts are those in the setting ``HOSTS``,
    or without it all hosts that have run a backup lately. If this host makes backups, the databases and trees
    in its settings are checked too, so that one that was never backed up is reported. So are those that
    ``HOSTS`` declares for the hosts of a fleet. Nothing is changed.
    """
    return read_and_judge(context)[1]


@fewer_collections()
def read_and_judge(context: BackupContext) -> tuple[Inventory | None, Health]:
    """Return the inventory that was read from the storage, and the result of :func:`monitor`.

    The inventory is ``None`` if the storage cannot be read.
    """
    now, where = context.clock(), context.store.describe()
    try:
        remembered = find_lost(context)
        inventory = read_inventory(context)
    except StorageError as error:
        down = Condition("storage", where, False, str(error))
        return None, Health(now=now, conditions=(down, *copy_conditions(context, None)))
    health = judge_inventory(context, inventory, remembered)
    conditions = (*health.conditions, *copy_conditions(context, inventory))
    return inventory, replace(health, conditions=conditions)


def judge_inventory(context: BackupContext, inventory: Inventory, remembered: Iterable[LostBackup]) -> Health:
    """Check all conditions of the storage that ``inventory`` describes, but not those of copies.

    ``remembered`` is the result of ``find_lost``: the backups that this host remembers and that are gone.
    """
    where, config = context.store.describe(), context.config
    states = part_states(inventory, config)
    backups = len(inventory.entries)
    conditions = [Condition("storage", where, backups > 0, count_in_words(backups, "backup"))]
    for state in states:
        conditions += run_conditions(state, inventory, config)
        conditions += object_conditions(state, inventory)
        conditions += check_conditions(state, inventory, config)
    own = [item.id for item in remembered] if remembers(context) else None
    for host in host_states(inventory):
        conditions += host_conditions(host, inventory, own if host.name == config.host else None)
    conditions += [retired_condition(host, inventory) for host in inventory.hosts.retired]
    conditions += doubted_retirements(inventory)
    conditions += fleet_conditions(context, inventory.now)
    gone = inventory.vanished.texts(where)
    text = " ".join(gone) or "no pin and no record of damage is gone"
    conditions.append(Condition("remembered", f"host {config.host}", not gone, text))
    conditions += _retention_conditions(inventory, config)
    conditions += _spot_conditions(inventory)
    conditions.append(_dates_condition(inventory))
    checks = [
        check.started
        for annotations in inventory.annotations.values()
        for check in annotations.checks
        if not is_ahead(check.started, inventory.now)
    ]
    return Health(
        now=inventory.now,
        conditions=tuple(conditions),
        newest=tuple(filter(None, (_newest_copy(state, config) for state in states))),
        retired=inventory.hosts.retired,
        backups=backups,
        stored_bytes=_stored_bytes(inventory.manifests),
        checked=max(checks, default=None),
    )


def part_states(inventory: Inventory, config: Config) -> list[PartState]:
    """Return the state of each database and tree of the expected hosts, sorted."""
    copies: defaultdict[Part, list[PartCopy]] = defaultdict(list)
    needed: defaultdict[Part, list[tuple[Manifest, DatabasePart | TreePart]]] = defaultdict(list)
    checks: defaultdict[Part, list[PartCheck]] = defaultdict(list)
    declared = config.hosts is not None and config.host in config.hosts
    expected = {host: (found.databases, found.sites) for host, found in config.fleet.items()}
    if declared or any(run.host == config.host for run in inventory.runs):
        expected.setdefault(config.host, (config.databases, tuple(config.sites)))
    for host, (databases, sites) in expected.items():
        for kind, names in (("database", databases), ("files", sites)):
            for name in names:
                copies[Part(host=host, kind=kind, name=name)] = []
    for manifest in inventory.manifests:
        for item in manifest.parts:
            if item.state == COMPLETE:
                part = Part(host=manifest.host, kind=item.kind, name=item.name)
                full = isinstance(item, TreePart) and item.full
                copies[part].append(_copy(part, manifest, item, full))
                needed[part].append((manifest, item))
    for check in inventory.part_checks():
        # A wrong clock must not make a check look recent for ever.
        if not is_ahead(check.check.started, inventory.now):
            checks[check.part].append(check)
    standings: defaultdict[Part, list[CopyStanding]] = defaultdict(list)
    for standing in inventory.standings.copies:
        standings[standing.part].append(standing)
    doubted = {item.key for item in (*inventory.absent, *inventory.reported)}
    failing, tried = inventory.failing(), _first_runs(inventory)
    return [
        PartState(
            part=part,
            copies=tuple(copies[part]),
            standings=tuple(standings[part]),
            checks=tuple(checks[part]),
            objects=_count_objects(needed[part]),
            doubted=frozenset(key for one in needed[part] for key in keys_of(*one) if key in doubted)
            if doubted
            else frozenset(),
            failing=(part.host, part.name) in failing,
            since=min(
                tried.get((part.host, part.name), inventory.now),
                min((copy.started for copy in copies[part]), default=inventory.now),
            ),
        )
        for part in sorted(copies)
        if part.host in inventory.hosts.expected
    ]


def _count_objects(copies: Sequence[tuple[Manifest, DatabasePart | TreePart]]) -> int:
    """Return how many objects the restores of these ``copies`` need together."""
    own = {key for copy in copies for key in own_keys_of(*copy)}
    packs, _ = count_once(item.needed_packs for _, item in copies)
    return len(own) + packs


def _stored_bytes(manifests: Sequence[Manifest]) -> int:
    """Return the size in bytes of all objects that ``manifests`` name."""
    own = {item.key: item.stored_bytes for manifest in manifests for item in manifest.own_objects()}
    _, packs = count_once(part.needed_packs for manifest in manifests for part in manifest.parts)
    return sum(own.values()) + packs


def _first_runs(inventory: Inventory) -> dict[tuple[str, str], datetime]:
    """Map the host and the name of each database or tree to the start of its first recorded run.

    Run records outlive the copies that the retention policy removes, so they show for how long a database or
    tree has not been verified, even if all of its copies are young.
    """
    return {(run.host, name): run.started for run in reversed(inventory.runs) for name in run.requested[::-1]}


def _newest_copy(state: PartState, config: Config) -> PartCopy | None:
    """Return the newest copy that can be relied on, with the times of the newest verification and drill."""
    if (copy := state.newest_fit) is None:
        return None
    limits = config.limits
    return replace(copy, verified=state.verified(limits.verified), drilled=state.drilled(limits.drilled))


def _retention_conditions(inventory: Inventory, config: Config) -> Iterator[Condition]:
    blocked = [f"{block.part}: {block.reason}" for block in inventory.plan(config).blocked]
    blocked += [
        f"the manifest of backup {item.id} cannot be read" for item in inventory.entries if not item.manifest
    ]
    yield Condition("retention", "all backups", not blocked, "; ".join(blocked) or "nothing blocks it")


def _spot_conditions(inventory: Inventory) -> Iterator[Condition]:
    """Check that every alarm of a spot check was accepted. Yields nothing if there was no spot check."""
    checks = [item.spot for item in inventory.annotations.values() if item.spot]
    if not checks:
        return
    alarms = [f"{part}: {text}" for part, text in inventory.spot_alarms().items()]
    newest = max(check.finished for check in checks)
    newest_text = f"no alarm is left; the newest comparison ended {age_in_words(newest, inventory.now)} ago"
    text = "; ".join(alarms) or newest_text
    yield Condition("live", "all backups", not alarms, text)


def _dates_condition(inventory: Inventory) -> Condition:
    """Check that nothing in storage is dated in the future."""
    ahead = listed(list(inventory.future))
    text = f"dated in the future, and not believed: {ahead}" if ahead else "nothing is dated in the future"
    return Condition("dates", "all records", not ahead, text)


def _copy(part: Part, manifest: Manifest, item: DatabasePart | TreePart, full: bool) -> PartCopy:
    copy = PartCopy(part, manifest.id, manifest.started, item.bytes, full)
    if isinstance(item, DatabasePart):
        return replace(copy, data_time=item.data_time, chunked=item.chunked)
    return copy
