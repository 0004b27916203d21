"""Find the backups and the runs in a store.

A backup exists only once its manifest exists. Backups are found by their exact id, never by a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.errors import IntegrityError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import SCHEMA, Manifest, RunRecord, read_manifest
from igny8_backup.store.base import MissingObjectError, Store


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A backup: its manifest, or the reason why the manifest cannot be read."""

    id: str
    manifest: Manifest | None
    problem: str = ""

    @property
    def started(self) -> datetime:
        """When the backup started. For an unreadable manifest, the id contains the time."""
        return self.manifest.started if self.manifest else keys.id_time(self.id)


class Catalog:
    """The backups and runs in a store. Only manifests and run records are read, so no key is needed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def entries(self) -> list[Entry]:
        """Return every backup, newest first. Raises ``StorageError`` if the storage cannot be listed."""
        found = []
        ids = (name.strip("/").rsplit("/", 1)[-1] for name in self._store.list_dirs(keys.BACKUPS))
        for backup_id in filter(keys.is_id, ids):
            try:
                found.append(Entry(id=backup_id, manifest=self._read(backup_id)))
            except MissingObjectError:
                continue  # without a manifest there is no backup: a run is still active, or failed
            except IntegrityError as error:
                found.append(Entry(id=backup_id, manifest=None, problem=str(error)))
        # Not sorted by id: ids have the time to the second only, and two backups may start in one second.
        return sorted(found, key=lambda entry: entry.started, reverse=True)

    def manifests(self) -> list[Manifest]:
        """Return the manifests that can be read, newest first."""
        return [entry.manifest for entry in self.entries() if entry.manifest]

    def get(self, backup_id: str) -> Manifest:
        """Return the manifest of a backup.

        Raises ``UsageError`` if the id is unknown, ``IntegrityError`` if the manifest is damaged.
        """
        if keys.is_id(backup_id):
            try:
                return self._read(backup_id)
            except MissingObjectError:
                pass
        raise UsageError(
            f"There is no backup {backup_id!r} in {self._store.describe()}.",
            hint="List the ids with: python manage.py list_backups.",
        )

    def runs(self) -> list[RunRecord]:
        """Return the records of all backup runs, newest first. Unreadable records are left out."""
        found = []
        for stored in self._store.list(keys.RUNS):
            parsed = keys.parse(stored.key)
            if parsed and parsed.kind == "run" and (record := self.run(parsed.backup_id)):
                found.append(record)
        return sorted(found, key=lambda record: record.started, reverse=True)

    def run(self, backup_id: str) -> RunRecord | None:
        """Return the record of the run that made a backup, or ``None`` if it is missing or unreadable."""
        try:
            data = self._store.read_small(keys.run_key(backup_id))
            return records.from_json(RunRecord, data, name=f"Run {backup_id}", schema=SCHEMA)
        except (MissingObjectError, IntegrityError):
            return None

    def run_of_task(self, task_id: str) -> RunRecord | None:
        """Return the record of the newest run of a Celery task, which a broker may deliver several times."""
        ending = f"-{keys.task_token(task_id)}.json"
        named = [stored.key for stored in self._store.list(keys.RUNS) if stored.key.endswith(ending)]
        for parsed in map(keys.parse, sorted(named, reverse=True)):
            record = self.run(parsed.backup_id) if parsed else None
            if record and record.task_id == task_id:
                return record
        return None

    def _read(self, backup_id: str) -> Manifest:
        return read_manifest(self._store.read_small(keys.manifest_key(backup_id)), backup_id)
