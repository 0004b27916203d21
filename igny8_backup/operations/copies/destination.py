"""The storage that keeps copies: which objects it has, and which of them are known to be right."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.inventory import Inventory, read_inventory
from igny8_backup.operations.progress import RunObserver
from igny8_backup.store import MissingObjectError, ObjectExistsError
from igny8_backup.store.intact import find_intact
from igny8_backup.streams.observe import verified


class Destination:
    """The storage that backups are copied to. Its objects are listed once; copied objects are then added.

    ``context`` is the context of that storage. Raises ``StorageError`` if the storage cannot be read.
    """

    def __init__(self, context: BackupContext) -> None:
        self.context = context
        self.inventory: Inventory = read_inventory(context)
        store = context.store
        self._sizes = {item.key: item.size for top in (keys.BACKUPS, keys.PACKS) for item in store.list(top)}
        self._near = True  # until the server refuses to copy from the other storage
        self._digests: defaultdict[str, set[str]] = defaultdict(set)
        for manifest in (entry.manifest for entry in self.inventory.entries if entry.manifest):
            for key in manifest.named_keys():
                self._digests[key] |= set()
            for item in manifest.objects():
                self._digests[item.key].add(item.sha256)
        # Only what this host has copied was compared with its digest: a signed manifest may have been put
        # here by somebody else, with other bytes.
        damaged, known = self.inventory.standings.damaged_keys, context.known_manifests
        self._proven = {
            (item.key, item.sha256)
            for entry in self.inventory.entries
            if entry.manifest and known.is_copied(entry.id, entry.manifest_sha256)
            for item in entry.manifest.objects()
            if item.key not in damaged
        }

    def has(self, item: StoredObject) -> bool:
        """Return whether this storage has the object ``item`` with the right bytes.

        Only the size is compared if a backup that this host has copied here names the object, and no damage
        is known. Any other object is read once: an interrupted run, or somebody else, could have written it.
        Raises ``StorageError``.
        """
        if self._sizes.get(item.key) != item.stored_bytes:
            return False
        if (item.key, item.sha256) not in self._proven:
            if not self._is_right(item):
                return False
            self._proven.add((item.key, item.sha256))
        return True

    def store(self, source: BackupContext, item: StoredObject, observer: RunObserver) -> None:
        """Copy the object ``item`` from ``source`` to this storage, and check its digest on the way.

        An object with the same key and other bytes is replaced. If a backup in this storage needs those
        bytes, they are kept and ``IntegrityError`` is raised. Also raises ``IntegrityError`` if the object is
        damaged in ``source``; this storage then has no such object. Raises ``StorageError``.
        """
        if item.key in self._sizes:
            self._require_replaceable(item)
            self.context.store.delete(item.key)
        if self._is_copied_on_server(source, item):
            observer.advance(item.stored_bytes)
        else:
            self._send(source, item, observer)
        self._sizes[item.key] = item.stored_bytes
        self._proven.add((item.key, item.sha256))

    def _is_copied_on_server(self, source: BackupContext, item: StoredObject) -> bool:
        """Let the server copy an object, if it can; return whether the new object has the right bytes.

        If the server does not report the SHA-256 of the new object, the object is read once.
        """
        if not self._near:
            return False
        store, size = self.context.store, item.stored_bytes
        try:
            version = find_intact(source.store, item.key, sha256=item.sha256, size=size)
            digest = store.copy_from(source.store, item.key, size, version)
        except StorageError:  # the credentials of the copy may not read the source; sending them may work
            self._near = False
            return False
        if digest is None:
            return False
        if digest == item.sha256.lower() or (not digest and self._is_right(item)):
            return True
        store.delete(item.key)
        return False

    def _send(self, source: BackupContext, item: StoredObject, observer: RunObserver) -> None:
        stored = source.read_intact(item)()
        checked = verified(stored, sha256=item.sha256, size=item.stored_bytes, name=item.key)
        blocks = observer.monitor(checked, source="the storage of the backup", sink="the copy")
        try:
            self.context.store.put(item.key, self.context.store.rate.pace(blocks), estimate=item.stored_bytes)
        except ObjectExistsError:  # another run may be copying a backup that shares the object
            if not self._is_right(item):
                raise

    def _require_replaceable(self, item: StoredObject) -> None:
        """Raise ``IntegrityError`` if a backup in this storage needs other bytes under the key of ``item``.

        Without this check, whoever may write to the source, and sign there, could destroy copied backups.
        """
        if self._digests.get(item.key, {item.sha256}) != {item.sha256}:
            raise IntegrityError(
                f"A backup in the copy names {item.key} too, but with another digest.",
                unchanged="The copy keeps the object that it has.",
                hint="One of the backups was altered: run verify_backup --all, with and without"
                " --from-storage.",
            )

    def _is_right(self, item: StoredObject) -> bool:
        stored = self.context.store.open(item.key)
        checked = verified(stored, sha256=item.sha256, size=item.stored_bytes, name=item.key)
        try:
            with closing(checked) as blocks:
                for _ in blocks:
                    pass
        except (IntegrityError, MissingObjectError):
            return False
        return True
