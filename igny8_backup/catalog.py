"""Find backups and runs in a store, and select the parts that a restore needs.

A backup exists only once its manifest exists. Backups are found by their exact id, never by a part of it.
Entry points: ``Catalog`` and ``select``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.errors import IntegrityError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import (
    COMPLETE,
    SCHEMA,
    DatabasePart,
    Manifest,
    RunRecord,
    TreePart,
    read_manifest,
)
from igny8_backup.humanize import duration_in_words
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


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The parts to restore, with their manifests, and notes about the choice for the operator."""

    databases: tuple[tuple[Manifest, DatabasePart], ...]
    trees: tuple[tuple[Manifest, TreePart], ...]
    notes: tuple[str, ...] = ()


class Catalog:
    """The backups and runs in a store. Reads manifests and run records only, and needs no key."""

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
                continue  # no manifest, no backup: a run that is still active, or orphans
            except IntegrityError as error:
                found.append(Entry(id=backup_id, manifest=None, problem=str(error)))
        # Not sorted by id: an id has the time to the second only, and two small backups may start in one.
        return sorted(found, key=lambda entry: entry.started, reverse=True)

    def manifests(self) -> list[Manifest]:
        """Return the manifests that can be read, newest first."""
        return [entry.manifest for entry in self.entries() if entry.manifest]

    def get(self, backup_id: str) -> Manifest:
        """Return a manifest. Raises ``UsageError`` for an unknown id, ``IntegrityError`` for a damaged
        manifest."""
        if keys.is_id(backup_id):
            try:
                return self._read(backup_id)
            except MissingObjectError:
                pass
        raise UsageError(
            f"There is no backup {backup_id!r} in {self._store.describe()}.",
            unchanged="Nothing was changed.",
            hint="List the ids with: python manage.py list_backups.",
        )

    def runs(self) -> list[RunRecord]:
        """Return the records of runs, newest first, without unreadable ones."""
        found = []
        for stored in self._store.list(keys.RUNS):
            parsed = keys.parse(stored.key)
            if parsed and parsed.kind == "run" and (record := self.run(parsed.backup_id)):
                found.append(record)
        return sorted(found, key=lambda record: record.started, reverse=True)

    def run(self, backup_id: str) -> RunRecord | None:
        """Return the record of a run, or ``None`` if it is missing or unreadable."""
        try:
            data = self._store.read_small(keys.run_key(backup_id))
            return records.from_json(RunRecord, data, name=f"Run {backup_id}", schema=SCHEMA)
        except (MissingObjectError, IntegrityError):
            return None

    def run_of_task(self, task_id: str) -> RunRecord | None:
        """Return the newest run of the queued task ``task_id``, which may have been delivered several
        times."""
        ending = f"-{keys.task_token(task_id)}.json"
        named = [stored.key for stored in self._store.list(keys.RUNS) if stored.key.endswith(ending)]
        for parsed in map(keys.parse, sorted(named, reverse=True)):
            record = self.run(parsed.backup_id) if parsed else None
            if record and record.task_id == task_id:
                return record
        return None

    def _read(self, backup_id: str) -> Manifest:
        return read_manifest(self._store.read_small(keys.manifest_key(backup_id)), backup_id)


def select(
    manifests: list[Manifest],
    *,
    databases: tuple[str, ...],
    trees: tuple[str, ...],
    wanted: Manifest | None = None,
) -> Selection:
    """Select the parts to restore for the requested ``databases`` and ``trees``.

    ``manifests`` are sorted newest first. With ``wanted``, only parts of that backup are selected. Otherwise
    the databases come from the newest backup that has all of them complete. Each tree comes from the same
    backup; else from the first backup started after it; else from the newest before it, with a note that says
    how far apart they are. Raises :class:`UsageError` if no backup has a requested part.
    """
    pool = [wanted] if wanted else manifests
    if not pool:
        raise UsageError(
            "There is no backup that can be read.",
            unchanged="Nothing was changed.",
            hint="List the backups and the location that was searched: python manage.py list_backups.",
        )
    base = next((found for found in pool if all(_database(found, alias) for alias in databases)), None)
    if base is None:
        raise _missing_part(
            wanted, f"of {', '.join(databases)}", "List the backups: python manage.py list_backups."
        )
    parts = tuple((base, part) for alias in databases if (part := _database(base, alias)))
    chosen: list[tuple[Manifest, TreePart]] = []
    notes = [
        f"Backup {item.id} is newer and has {alias!r} complete, but not all of {', '.join(databases)}. To"
        f" restore it: restore_all {item.id} --only {alias}."
        for item in pool[: pool.index(base)]
        for alias in databases
        if _database(item, alias)
    ][:5]
    for name in trees:
        found = _nearest([item for item in pool if _tree(item, name)], base if databases else None)
        tree = _tree(found, name) if found else None
        if found is None or tree is None:
            raise _missing_part(
                wanted,
                f"of the tree {name!r}",
                "Choose another id from list_backups, or restore without it: restore_all --only db.",
            )
        chosen.append((found, tree))
        if databases and found.id != base.id:
            apart = duration_in_words(abs(tree.started - base.started), units=2)
            when = "after" if tree.started > base.started else "BEFORE"
            notes.append(
                f"The files of {name!r} come from backup {found.id}, made {apart} {when} the database."
            )
    return Selection(databases=parts, trees=tuple(chosen), notes=tuple(notes))


def _missing_part(wanted: Manifest | None, what: str, hint: str) -> UsageError:
    subject = f"Backup {wanted.id} has no" if wanted else "No backup has a"
    text = f"{subject} complete copy {what}."
    return UsageError(text, unchanged="Nothing was changed.", hint=hint)


def _nearest(fitting: list[Manifest], base: Manifest | None) -> Manifest | None:
    """Return ``base``, else the first manifest after it, else the newest before; without ``base`` the
    newest."""
    fitting = sorted(fitting, key=lambda item: item.started)
    if base is None:
        return fitting[-1] if fitting else None
    after = [item for item in fitting if item.started >= base.started]
    return after[0] if after else (fitting[-1] if fitting else None)


def _database(manifest: Manifest, alias: str) -> DatabasePart | None:
    found = (part for part in manifest.databases if part.alias == alias and part.state == COMPLETE)
    return next(found, None)


def _tree(manifest: Manifest, name: str) -> TreePart | None:
    return next((part for part in manifest.trees if part.name == name and part.state == COMPLETE), None)
