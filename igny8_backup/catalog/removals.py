"""Read the records of removals, which show that a missing backup was removed on purpose and is not lost."""

from __future__ import annotations

from functools import cached_property

from igny8_backup.catalog.signatures import judge_document
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import SCHEMA, Removal
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.signing.trust import REMOVAL, Trust
from igny8_backup.store import MissingObjectError, Store


class Removals:
    """The records of removals in a store. The folder is listed once, when it is first needed.

    If ``trust`` names trusted keys, only records that such a key signed count. If nobody knows which host
    made a removed backup, only a key that may sign for all hosts and parts is accepted. Without trusted keys,
    the field ``pruned`` of a run record counts too: earlier releases of this package recorded a removal
    there.
    """

    def __init__(self, store: Store, trust: Trust) -> None:
        self._store, self._trust = store, trust

    def explain(self, backup_id: str, run: RunRecord | None, host: str = "") -> bool:
        """Return whether the backup was removed on purpose.

        ``run`` is the run record of the backup, if there is one. ``host`` is the host that made the backup;
        empty if the caller does not know that host. Raises ``StorageError``.
        """
        if not self._trust.required and run is not None and run.pruned is not None:
            return True
        key = keys.removal_key(backup_id)
        if key not in self._listed:
            return False
        try:
            data = self._store.read_small(key)
            found = records.from_json(Removal, data, name=key, schema=SCHEMA)
        except (MissingObjectError, IntegrityError):
            return False
        if found.id != backup_id:
            return False
        if not self._trust.required:
            return True
        maker = host or (run.host if run else "")
        if maker and found.host != maker:
            return False
        # A document that leaves parts out must not pass with a key that may not sign for these parts.
        named = {part.rpartition(":")[2] for part in found.parts}
        parts = (*found.parts, *(name for name in (run.requested if run else ()) if name not in named))
        verdict = judge_document(self._store, self._trust, key, REMOVAL, data, host=found.host, parts=parts)
        return verdict.trusted and bool(maker or not verdict.limited)

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(item.key for item in self._store.list(keys.REMOVED))
