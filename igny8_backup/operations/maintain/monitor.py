"""Check the health of all backups: age, size, failures, verifications, clocks.

:func:`monitor` is the entry point. It also reports backups that are missing, because no run has started for
too long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import median

from igny8_backup.conf import Config, Limits
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.annotations import DRILLED
from igny8_backup.formats.manifest import COMPLETE, TreePart
from igny8_backup.humanize import age_in_words, count_in_words, duration_in_words, size_in_words
from igny8_backup.operations.backup.parent_index import FULL_RUNS_LIMIT
from igny8_backup.operations.clock_skew import TOLERANCE
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import Inventory, read_inventory
from igny8_backup.operations.notify.mailed_alarms import Alarm
from igny8_backup.retention import Part

RECENT, LEAST = 10, 3
"""The newest copy is compared with the median size of the ``RECENT`` copies before it, if there are at least
``LEAST``."""
SHRUNK = 0.5
"""The smallest acceptable size of the newest copy, as a share of the median."""


@dataclass(frozen=True)
class Condition:
    """One checked property, such as the age of a database's backup.

    ``of`` is the database, tree, host or storage that was checked; ``text`` explains the result.
    """

    name: str
    of: str
    ok: bool
    text: str


@dataclass(frozen=True)
class PartCopy:
    """The copy of a database or tree in one backup.

    ``bytes`` is its size before compression. ``full``: every file of the tree was stored again.
    """

    part: Part
    backup_id: str
    started: datetime
    bytes: int
    full: bool


@dataclass(frozen=True, kw_only=True)
class Health:
    """The result of :func:`monitor`: all conditions, and figures for metrics (``None`` if unknown).

    ``newest`` are the newest copies of all databases and trees, ``backups`` is the number of backups,
    ``stored_bytes`` their size in storage, ``checked`` the start of the newest verification or drill.
    """

    now: datetime
    conditions: tuple[Condition, ...]
    newest: tuple[PartCopy, ...] = ()
    backups: int | None = None
    stored_bytes: int | None = None
    checked: datetime | None = None

    @property
    def failed(self) -> tuple[Condition, ...]:
        return tuple(item for item in self.conditions if not item.ok)

    @property
    def alarms(self) -> list[Alarm]:
        """The failed conditions, without ages and sizes, because each new alarm is mailed to ``ADMINS``."""
        return [Alarm(f"{item.name}, {item.of}", "failed") for item in self.failed]

    def problems(self) -> list[str]:
        """Return one line for each condition that failed."""
        return [f"FAILED {item.name}, {item.of}: {item.text}" for item in self.failed]


def monitor(context: BackupContext) -> Health:
    """Check all conditions. Nothing is changed. An unreachable storage is a failed condition, not an error.

    All databases and trees that storage has backups of are checked. A host that writes backups to this
    storage also checks those in its settings, so that one that was never backed up is reported.
    """
    now, where = context.clock(), context.store.describe()
    try:
        inventory = read_inventory(context)
        ahead = tuple(_clock_conditions(context, inventory))
    except StorageError as error:
        return Health(now=now, conditions=(Condition("storage", where, False, str(error)),))
    copies_by_part = _copies_by_part(inventory, context.config)
    backups = len(inventory.entries)
    conditions = [Condition("storage", where, backups > 0, count_in_words(backups, "backup"))]
    for part, copies in copies_by_part.items():
        conditions += _part_conditions(part, copies, inventory, context.config)
    conditions += [
        *_run_conditions(inventory),
        *_retention_conditions(inventory, context.config),
        *_check_conditions(inventory, context.config.limits),
        *ahead,
    ]
    objects = {item.key: item.stored_bytes for manifest in inventory.manifests for item in manifest.objects()}
    checks = [check.started for annotations in inventory.annotations.values() for check in annotations.checks]
    return Health(
        now=now,
        conditions=tuple(conditions),
        newest=tuple(copies[0] for copies in copies_by_part.values() if copies),
        backups=backups,
        stored_bytes=sum(objects.values()),
        checked=max(checks, default=None),
    )


def _copies_by_part(inventory: Inventory, config: Config) -> dict[Part, list[PartCopy]]:
    """Return the copies of each database and tree, newest first, except those without a maximum age."""
    found: defaultdict[Part, list[PartCopy]] = defaultdict(list)
    if any(run.host == config.host for run in inventory.runs):
        for kind, names in (("database", config.databases), ("files", tuple(config.sites))):
            for name in names:
                found[Part(host=config.host, kind=kind, name=name)] = []
    for manifest in inventory.manifests:
        for item in manifest.parts:
            if item.state == COMPLETE:
                part = Part(host=manifest.host, kind=item.kind, name=item.name)
                full = isinstance(item, TreePart) and item.full
                copy = PartCopy(part, manifest.id, manifest.started, item.bytes, full)
                found[part].append(copy)
    return {part: found[part] for part in sorted(found) if config.max_age_of(part) is not None}


def _part_conditions(
    part: Part, copies: list[PartCopy], inventory: Inventory, config: Config
) -> Iterator[Condition]:
    max_age = config.max_age_of(part)
    if not copies or max_age is None:
        yield Condition("age", str(part), False, "there is no complete backup")
        return
    newest = copies[0]
    age = inventory.now - newest.started
    text = f"{duration_in_words(age, units=2)} old; {duration_in_words(max_age, units=2)} are allowed"
    yield Condition("age", str(part), age <= max_age, text)
    failing = (part.host, part.name) in inventory.failing()
    text = "its newest run failed" if failing else "its newest run succeeded"
    yield Condition("complete", str(part), not failing, text)
    yield from _full_run_conditions(copies)
    previous = [copy.bytes for copy in copies[1 : RECENT + 1]]
    if len(previous) >= LEAST:
        usual = median(previous)
        text = f"{size_in_words(newest.bytes)}; {size_in_words(usual)} is usual"
        yield Condition("size", str(part), newest.bytes >= SHRUNK * usual, text)


def _full_run_conditions(copies: list[PartCopy]) -> Iterator[Condition]:
    """Check whether runs store every file of a tree again, because STATE_DIR is lost between runs."""
    part = copies[0].part
    if part.kind != "files":
        return
    # The oldest copy is not counted: the first backup of a tree is always full.
    full = sum(1 for _ in takewhile(lambda copy: copy.full, copies[:-1]))
    again = f"the newest {count_in_words(full, 'backup')} stored every file again"
    text = again if full else "the newest backup stored only what had changed"
    yield Condition("incremental", str(part), full < FULL_RUNS_LIMIT, text)


def _run_conditions(inventory: Inventory) -> Iterator[Condition]:
    """Check whether the newest run of each host was complete.

    Files that could not be read make the run incomplete, but not its trees.
    """
    hosts: set[str] = set()
    for run in inventory.settled_runs():
        if run.host not in hosts:
            hosts.add(run.host)
            text = f"{run.id} ended {run.outcome}"
            yield Condition("run", f"host {run.host}", run.outcome == COMPLETE, text)


def _retention_conditions(inventory: Inventory, config: Config) -> Iterator[Condition]:
    blocked = [f"{block.part}: {block.reason}" for block in inventory.plan(config).blocked]
    blocked += [
        f"the manifest of backup {item.id} cannot be read" for item in inventory.entries if not item.manifest
    ]
    yield Condition("retention", "all backups", not blocked, "; ".join(blocked) or "nothing blocks it")


def _check_conditions(inventory: Inventory, limits: Limits) -> Iterator[Condition]:
    """Check whether verifications and drills are recent, and found no damage in any existing backup."""
    found = inventory.annotations
    checks = [
        (item, check) for item in inventory.entries if item.id in found for check in found[item.id].checks
    ]
    starts = [check.started for _, check in checks]
    yield from _recency_condition("verified", "the newest", starts, inventory, limits.verified)
    drills = [check.started for _, check in checks if check.depth == DRILLED and not check.damage]
    yield from _recency_condition("drilled", "the newest good drill", drills, inventory, limits.drilled)
    damaged = [f"{entry.id} ({check.depth})" for entry, check in checks if check.damage]
    yield Condition("damage", "all backups", not damaged, ", ".join(damaged) or "none was found")


def _recency_condition(
    name: str, what: str, times: list[datetime], inventory: Inventory, max_age: timedelta | None
) -> Iterator[Condition]:
    """Check whether the newest of ``times`` is at most ``max_age`` ago.

    If ``times`` is empty (there was no such check yet), the age of the oldest backup is compared with
    ``max_age`` instead. If ``max_age`` is None, nothing is checked.
    """
    if max_age is None:
        return
    newest = max(times, default=None)
    since = newest or min((entry.started for entry in inventory.entries), default=inventory.now)
    done = f"{what} was {age_in_words(newest, inventory.now)} ago" if newest else "there was none yet"
    allowed = f"{duration_in_words(max_age, units=2)} are allowed"
    yield Condition(name, "all backups", inventory.now - since <= max_age, f"{done}; {allowed}")


def _clock_conditions(context: BackupContext, inventory: Inventory) -> Iterator[Condition]:
    """Check whether the clock of a host is ahead of that of the storage or of this host.

    The newest run record of the host shows its time. A clock that is behind cannot be detected: if the
    storage was copied, the files are younger than the times in the records.
    """
    modified = {item.key: item.modified for item in context.store.list(keys.RUNS)}
    hosts: set[str] = set()
    for run in inventory.runs:
        if run.host in hosts:
            continue
        hosts.add(run.host)
        written = modified.get(keys.run_key(run.id)) or inventory.now
        ahead = run.heartbeat - min(written, inventory.now)
        text = f"{duration_in_words(ahead)} ahead" if ahead > TOLERANCE else "not ahead"
        yield Condition("clock", f"host {run.host}", ahead <= TOLERANCE, text)
