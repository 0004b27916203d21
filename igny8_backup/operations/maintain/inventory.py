"""Read all backups, run records and annotations in storage once, for retention and monitoring."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from igny8_backup.catalog.backups import Entry
from igny8_backup.catalog.checked import PartCheck, part_checks
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.conf import Config
from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import DRILLED, Annotations
from igny8_backup.formats.documents.run_record import NOT_DONE, RunRecord, is_excused
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, NOT_COPIED, Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.expected_hosts import Hosts, read_hosts_retired, sort_hosts
from igny8_backup.operations.history.presence import lost_backups
from igny8_backup.operations.history.read import History, read_history
from igny8_backup.operations.maintain.blocked_parts import hint, is_retired
from igny8_backup.operations.maintain.future_dates import find_future_dates
from igny8_backup.operations.maintain.sharing import sources_of
from igny8_backup.operations.read.snapshot import read_until_settled
from igny8_backup.retention import policy as retention
from igny8_backup.retention.policy import Backup, Part, Plan


@dataclass(frozen=True, kw_only=True)
class Inventory(History):
    """All backups and run records in storage, newest first, read at the time ``now``.

    ``annotations`` maps the ids of backups to their pins and checks; ``standings`` say which copies can be
    relied on. ``lost`` are runs whose backup is gone although nobody removed it. ``future`` describes objects
    that are dated in the future. ``written`` maps the keys of run records to the time of writing according to
    the storage. ``damaged_runs`` are the ids of damaged run records without a backup.
    """

    runs: list[RunRecord]
    hosts: Hosts
    lost: tuple[RunRecord, ...] = ()
    future: tuple[str, ...] = ()
    written: dict[str, datetime | None] = field(default_factory=dict)
    damaged_runs: tuple[str, ...] = ()
    _by_id: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {item.id: item for item in self.entries})

    def entry(self, backup_id: str) -> Entry | None:
        """Return the entry of a backup; ``None`` if there is no such backup."""
        return self._by_id.get(backup_id)

    @property
    def manifests(self) -> list[Manifest]:
        """The readable manifests, newest first, without those that are dated in the future."""
        return [
            item.manifest for item in self.entries if item.manifest and not is_ahead(item.started, self.now)
        ]

    def plan(self, config: Config) -> Plan:
        """Apply the retention policy: return which backups it keeps and which it removes."""
        backups = [self._backup(entry) for entry in self.entries]
        parts = {part for item in backups for part in item.parts}
        failed, expected = self.failing(), self.hosts.expected
        # Retired hosts and parts have no more runs: their last failure and old copies must not block pruning.
        failing = {
            part
            for part in parts
            if (part.host, part.name) in failed and part.host in expected and not is_retired(part, config)
        }

        def max_age(part: Part) -> timedelta | None:
            return config.max_age_of(part) if part.host in expected else None

        # A record that the storage does not give may say that a copy is damaged.
        reasons = {part: self._unread_of(part.host) or self._damaged_run_of(part.host) for part in parts}
        stopped = {**self.spot_alarms(), **{part: reason for part, reason in reasons.items() if reason}}
        found = retention.plan(
            backups, config.retention, self.now, failing=failing, stopped=stopped, max_age=max_age
        )
        return replace(
            found,
            blocked=tuple(
                block
                if block.reason == stopped.get(block.part)
                else replace(block, reason=f"{block.reason}. {hint(block.part, config)}")
                for block in found.blocked
                if block.part in stopped or block.part.host in expected
            ),
        )

    def _unread_of(self, host: str) -> str:
        """Return a reason to keep all copies of ``host`` if an annotation could not be read, else ``""``.

        Even an annotation of one backup matters for all backups of the host, because it could report damage
        of a pack (tar archive) that several of them share.
        """
        hosts = {entry.id: entry.manifest.host for entry in self.entries if entry.manifest}
        for key in self.unread:
            parsed = keys.parse(key)
            if hosts.get(parsed.backup_id if parsed else "", host) == host:
                return f"{key} cannot be read"
        return ""

    def hidden_runs(self, host: str) -> list[str]:
        """Return the ids of the damaged run records that could be those of failed runs of ``host``.

        A damaged record is returned if it is newer than every run of the host that has ended.
        """
        ended = next((run.started for run in self.settled_runs() if run.host == host), None)
        return [
            run_id
            for run_id in self.damaged_runs
            if (ended is None or keys.id_time(run_id) > ended)
            and not is_ahead(keys.id_time(run_id), self.now)
        ]

    def _damaged_run_of(self, host: str) -> str:
        """Return a reason to keep all copies of an expected host if a run record is damaged, else ``""``."""
        hidden = self.hidden_runs(host) if host in self.hosts.expected else []
        return f"{keys.run_key(hidden[0])} is damaged and may hide a failed run" if hidden else ""

    def part_checks(self) -> list[PartCheck]:
        """Return all verifications and drills, also of removed backups, once for each part they covered."""
        return list(part_checks(self.entries, self.annotations, self.past_checks))

    def spot_alarms(self) -> dict[Part, str]:
        """Return the spot check alarms that nobody has accepted, by the database or tree they concern."""
        hosts = {item.id: item.host for item in self.manifests}
        return {
            Part(host=hosts[backup_id], kind=item.kind, name=item.name): (
                f"spot_check of {backup_id}: {item.text} (accept_backup {backup_id})"
            )
            for backup_id, annotations in sorted(self.annotations.items())
            for item in annotations.spot_alarms()
            if backup_id in hosts
        }

    def failing(self) -> set[tuple[str, str]]:
        """Return the host and the name of each database or tree whose newest backup run failed.

        If a database and a tree of a host have the same name, they are not distinguished.
        """
        manifests = {entry.id: entry.manifest for entry in self.entries}
        settled: dict[tuple[str, str], bool] = {}
        for run in self.settled_runs():
            if run.outcome in NOT_DONE:  # not a failure; monitoring reports it in another way
                continue
            for name in run.requested:
                settled.setdefault((run.host, name), _failed(run, name, manifests.get(run.id)))
        return {part for part, failed in settled.items() if failed}

    def settled_runs(self) -> list[RunRecord]:
        """Return the runs that have ended, newest first, without runs dated in the future.

        Runs that backed up nothing are left out if that needs no attention, for example because another run
        has backed up the same databases and trees meanwhile (``is_excused``).
        """
        written = {entry.id for entry in self.entries}
        return [
            run
            for run in self.runs
            if not is_ahead(run.started, self.now)
            and (run.id in written or not run.is_alive(self.now))
            and not is_excused(run, self.runs, self.now)
        ]

    def _backup(self, entry: Entry) -> Backup:
        if entry.manifest is None:
            return Backup(id=entry.id, started=entry.started, held="its manifest cannot be read")
        copies = self.standings.of_backup(entry.id)
        proven = part_checks([entry], self.annotations, ())
        return Backup(
            id=entry.id,
            started=entry.started,
            parts=tuple(copy.part for copy in copies),
            held=f"untrusted: {entry.untrusted}" if entry.untrusted else self._held(entry.manifest),
            proven_parts=frozenset(
                item.part for item in proven if item.check.depth == DRILLED and item.sound
            ),
            unfit={copy.part: copy.why for copy in copies if not copy.fit},
            sources=sources_of(entry.manifest),
        )

    def _held(self, manifest: Manifest) -> str:
        """Return why a backup is kept even if the retention policy would not keep it, else ``""``."""
        annotations = self.annotations.get(manifest.id, Annotations())
        if annotations.pin:
            return f"pinned: {annotations.pin.reason}"
        if manifest.id in {pin.id for pin in self.vanished.pins}:
            return "this host remembers its pin, which is gone from the storage"
        if manifest.safety and not annotations.release:
            return "kept until released: it can undo a restore in place"
        return ""


def read_inventory(context: BackupContext) -> Inventory:
    """Return the inventory of the storage. Raises ``StorageError``."""
    return read_settled(context)[1]


def read_settled(context: BackupContext) -> tuple[BackupContext, Inventory]:
    """Return the inventory, and a context that shows the storage as it was then. Raises ``StorageError``.

    A run record or annotation that cannot be read is left out. If the storage failed to return it, ``unread``
    of the result names it.

    Manifests may be kept in ``STATE_DIR``. Those with the newest good copy of a database or tree, which let
    retention remove older copies, are read from the storage. If one has changed, everything is read anew.
    """

    def read(snapshot: BackupContext) -> tuple[Inventory, list[Entry]]:
        found = _read_once(snapshot)
        parts = {copy.part for copy in found.standings.copies}
        newest = {copy.backup_id for copy in map(found.standings.newest_fit, parts) if copy}
        return found, [item for item in found.entries if item.id in newest]

    return read_until_settled(context, read)


def _read_once(context: BackupContext) -> Inventory:
    unread: dict[str, str] = {}
    # Run records are read first: a run that has ended by then has written its manifest.
    written = {item.key: item.modified for item in context.store.list(keys.RUNS)}
    damaged: list[str] = []
    runs = context.catalog.runs(written, unread=unread, damaged=damaged)
    history, retired = read_history(context, runs), read_hosts_retired(context)
    existing = {entry.id for entry in history.entries}
    return Inventory(
        **{**vars(history), "unread": {**unread, **history.unread}},
        runs=runs,
        hosts=sort_hosts(context.config, history.manifests, runs, history.now, retired),
        future=find_future_dates(history.entries, history.stored_checks, runs, history.now),
        lost=lost_backups(context, history.entries, runs),
        written=written,
        damaged_runs=tuple(item for item in damaged if item not in existing),
    )


def _failed(run: RunRecord, name: str, manifest: Manifest | None) -> bool:
    if manifest is not None:  # more reliable than the record of a run that died
        return any(part.state not in (COMPLETE, NOT_COPIED) for part in manifest.parts if part.name == name)
    return run.outcome not in (COMPLETE, INCOMPLETE) or name in run.errors
