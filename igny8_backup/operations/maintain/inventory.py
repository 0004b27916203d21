"""Read all backups, run records and annotations in storage once, for retention and monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup import retention
from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.catalog.backups import Entry
from igny8_backup.conf import Config
from igny8_backup.formats.annotations import Annotations
from igny8_backup.formats.manifest import COMPLETE, INCOMPLETE, Manifest, RunRecord
from igny8_backup.operations.context import BackupContext
from igny8_backup.retention import Backup, Part, Plan


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All backups and run records in storage, newest first, read at the time ``now``.

    ``annotations`` maps the ids of backups to their pins and checks.
    """

    now: datetime
    entries: list[Entry]
    annotations: dict[str, Annotations]
    runs: list[RunRecord]

    @property
    def manifests(self) -> list[Manifest]:
        """The readable manifests, newest first, without those that are dated in the future."""
        return [item.manifest for item in self.entries if item.manifest and item.started <= self.now]

    def plan(self, config: Config) -> Plan:
        """Apply the retention policy: return which backups it keeps and which it removes."""
        backups = [self._backup(entry) for entry in self.entries]
        parts = {part for item in backups for part in item.parts}
        failed = self.failing()
        failing = {part for part in parts if (part.host, part.name) in failed}
        return retention.plan(backups, config.retention, self.now, failing=failing, max_age=config.max_age_of)

    def failing(self) -> set[tuple[str, str]]:
        """Return the host and the name of each database or tree whose newest backup run failed.

        If a database and a tree have the same name and one of them fails, both count as failing.
        """
        manifests = {entry.id: entry.manifest for entry in self.entries}
        settled: dict[tuple[str, str], bool] = {}
        for run in self.settled_runs():
            for name in run.requested:
                settled.setdefault((run.host, name), _failed(run, name, manifests.get(run.id)))
        return {part for part, failed in settled.items() if failed}

    def settled_runs(self) -> list[RunRecord]:
        """Return the runs that have ended, newest first, without those dated in the future."""
        written = {entry.id for entry in self.entries}
        return [
            run
            for run in self.runs
            if run.started <= self.now and (run.id in written or not run.is_alive(self.now))
        ]

    def _backup(self, entry: Entry) -> Backup:
        if entry.manifest is None:
            return Backup(id=entry.id, started=entry.started, held="its manifest cannot be read")
        annotations = self.annotations.get(entry.id, Annotations())
        return Backup(
            id=entry.id,
            started=entry.started,
            parts=parts_of(entry.manifest),
            held=f"pinned: {annotations.pin.reason}" if annotations.pin else "",
            proven=annotations.proven,
        )


def read_inventory(context: BackupContext) -> Inventory:
    """Read all manifests, run records, pins and checks. Raises ``StorageError``."""
    return Inventory(
        now=context.clock(),
        entries=context.catalog.entries(),
        annotations=read_annotations(context.store),
        runs=context.catalog.runs(),
    )


def parts_of(manifest: Manifest) -> tuple[Part, ...]:
    """Return the databases and trees that are complete in a backup.

    A tree with files that could not be read counts as complete.
    """
    complete = (part for part in manifest.parts if part.state == COMPLETE)
    return tuple(Part(host=manifest.host, kind=part.kind, name=part.name) for part in complete)


def _failed(run: RunRecord, name: str, manifest: Manifest | None) -> bool:
    if manifest is not None:  # more reliable than the record of a run that died
        return any(part.state != COMPLETE for part in manifest.parts if part.name == name)
    return run.outcome not in (COMPLETE, INCOMPLETE) or name in run.errors
