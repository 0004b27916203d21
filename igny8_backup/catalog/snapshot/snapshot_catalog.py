"""A catalog that parses each manifest and each run record of a snapshot once."""

from __future__ import annotations

from collections.abc import Iterable

from igny8_backup.catalog.backups import Catalog, Entry
from igny8_backup.catalog.known_manifests import KnownManifests
from igny8_backup.catalog.lists import Lists
from igny8_backup.catalog.snapshot.snapshot_store import SnapshotStore
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.signing.trust import Trust
from igny8_backup.store import Store


class SnapshotCatalog(Catalog):
    """The backups and runs in a snapshot. Its arguments are those of ``Catalog``."""

    _store: SnapshotStore

    def run(self, backup_id: str) -> RunRecord | None:
        known = self._store.runs
        if backup_id not in known:
            known[backup_id] = super().run(backup_id)
        return known[backup_id]

    def _read_manifests_ahead(self, ids: Iterable[str]) -> None:
        super()._read_manifests_ahead([item for item in ids if item not in self._store.entries])

    def _read_runs_ahead(self, ids: Iterable[str]) -> None:
        super()._read_runs_ahead([item for item in ids if item not in self._store.runs])

    def _find(self, backup_id: str) -> Entry | None:
        known = self._store.entries
        if backup_id not in known:
            found = super()._find(backup_id)
            if found is None or found.manifest is None:
                return found
            known[backup_id] = found
        return known[backup_id]


def catalog_of(store: Store, trust: Trust, known: KnownManifests, lists: Lists, alias: str) -> Catalog:
    """Return the catalog of a store. The arguments are those of ``Catalog``."""
    if isinstance(store, SnapshotStore):
        return SnapshotCatalog(store, trust, known, lists, alias)
    return Catalog(store, trust, known, lists, alias)
