"""Replace damaged and missing objects with good ones from another storage: :func:`heal`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from igny8_backup.catalog.backups import Entry
from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.errors import BackupError, IntegrityError, StorageError
from igny8_backup.formats.documents.annotations import UNREADABLE
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.history.read import recorded_damage
from igny8_backup.operations.maintain.inventory import Inventory, read_inventory
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.store import MissingObjectError
from igny8_backup.streams import Blocks
from igny8_backup.streams.observe import verified


@dataclass(frozen=True, kw_only=True)
class Healed:
    """The result of healing a storage.

    ``healed`` maps the key of each replaced object to the alias of the storage that it was copied from.
    ``unhealed`` maps the key of each object that is still damaged to the reason.
    """

    healed: dict[str, str] = field(default_factory=dict)
    unhealed: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line for each object."""
        found = [f"HEALED: {key} was copied back from {alias}." for key, alias in self.healed.items()]
        return found + [f"NOT HEALED: {key}: {reason}" for key, reason in self.unhealed.items()]


def heal(context: BackupContext) -> Healed:
    """Replace the damaged and missing objects of trusted backups with good ones from another storage.

    ``context`` is that of the storage to heal: the main storage, or one of those in ``COPIES``. Each object
    is taken from the first of the other storages that has an object with the digest in the manifest.
    Afterwards the healed backups are verified. That records that the objects are sound, and ends the damage.

    Does nothing without ``COPIES``. Reads no objects if no damage is known. Raises ``StorageError`` if the
    storage to heal cannot be read.
    """
    if not context.config.copies:
        return Healed()
    work = _Healing(context)
    with ExitStack() as stack:
        for _ in range(2):  # a list that was healed shows which packs a backup needs
            inventory = read_inventory(context)
            damaged = {key: found for key, found in _damaged(inventory).items() if key not in work.examined}
            if not damaged:
                break
            disputed = _disputed(inventory)
            for item, _ in damaged.values():
                work.heal(item, stack, disputed=item.key in disputed)
            work.record(entry for key, (_, entry) in damaged.items() if key not in work.unhealed)
    return Healed(healed=work.healed, unhealed=work.unhealed)


def _damaged(inventory: Inventory) -> dict[str, tuple[StoredObject, Entry]]:
    """Return the damaged objects by key, each with the newest trusted backup that names it.

    If the bytes of an object are right but its contents cannot be read, the object is left out: the copies of
    the backup have the same bytes.
    """
    damaged = {
        item.key for copy in inventory.standings.copies for item in copy.damage if item.kind != UNREADABLE
    }
    return {
        item.key: (item, entry)
        for entry in reversed(inventory.entries)
        if entry.manifest and not entry.untrusted
        for item in entry.manifest.objects()
        if item.key in damaged
    }


def _disputed(inventory: Inventory) -> set[str]:
    """Return the keys that two backups name with different digests: one of the backups was altered."""
    manifests = [entry.manifest for entry in inventory.entries if entry.manifest]
    named = Counter(
        key for key, _ in {(item.key, item.sha256) for one in manifests for item in one.objects()}
    )
    return {key for key, count in named.items() if count > 1}


class _Healing:
    """The work of healing one storage. ``examined`` are the keys of all objects that it has handled."""

    def __init__(self, context: BackupContext) -> None:
        self.healed: dict[str, str] = {}
        self.unhealed: dict[str, str] = {}
        self.examined: set[str] = set()
        self._context = context
        self._sources: dict[str, BackupContext] | None = None

    def heal(self, item: StoredObject, stack: ExitStack, *, disputed: bool) -> None:
        """Replace one object, unless its bytes turn out to be right. ``stack`` closes the other storages.

        The object is not replaced if the storage fails to return it, because its bytes could be right. A
        ``disputed`` object is not replaced either: another backup needs other bytes under its key.
        """
        self.examined.add(item.key)
        if disputed:
            self.unhealed[item.key] = (
                "two backups name it with different digests, so one of them was altered."
            )
            return
        try:
            if _is_right(self._context.read_intact(item), item):
                return
            there = self._context.store.exists(item.key)
            for alias, source in self._open_sources(stack).items():
                # What is there is deleted only once the replacement is known to be right.
                if _has(source, item):
                    if there:
                        self._context.store.delete(item.key)
                    blocks = _checked(source.read_intact(item), item)
                    self._context.store.put(
                        item.key, self._context.store.rate.pace(blocks), estimate=item.stored_bytes
                    )
                    self.healed[item.key] = alias
                    return
            self.unhealed[item.key] = "no other storage has the object as it was written."
        except (StorageError, IntegrityError) as error:
            self.unhealed[item.key] = str(error)

    def record(self, entries: Iterable[Entry]) -> None:
        """Verify each of the backups ``entries``: a sample, and the objects recorded as damaged.

        The results are stored. Nothing is verified if no check has recorded damage of an examined object.
        """
        recorded = recorded_damage(self._context)
        if not recorded & self.examined:
            return
        for backup_id in sorted({entry.id for entry in entries}):
            try:
                verify(self._context, VerifyRequest(backup_id=backup_id, sample=1))
            except BackupError as error:
                self._context.progress.note(f"Backup {backup_id} could not be verified. {error}")

    def _open_sources(self, stack: ExitStack) -> dict[str, BackupContext]:
        """Open all storages but the one to heal, on the first call only. A note names each unusable one."""
        if self._sources is None:
            self._sources = {}
            context = self._context
            for alias in (STORAGE_ALIAS, *(copy.storage for copy in context.config.copies.values())):
                if alias == context.alias:
                    continue
                opened = open_context(
                    progress=context.progress, storage_alias=alias, changing=True, clock=context.clock
                )
                try:
                    self._sources[alias] = stack.enter_context(opened)
                except BackupError as error:
                    context.progress.note(f"Nothing can be copied back from {alias}. {error}")
        return self._sources


def _checked(read: Callable[[], Blocks], item: StoredObject) -> Blocks:
    return verified(read(), sha256=item.sha256, size=item.stored_bytes, name=item.key)


def _is_right(read: Callable[[], Blocks], item: StoredObject) -> bool:
    """Read an object; return whether it has the bytes that were written. Raises ``StorageError``."""
    try:
        with closing(_checked(read, item)) as blocks:
            for _ in blocks:
                pass
    except (IntegrityError, MissingObjectError):
        return False
    return True


def _has(source: BackupContext, item: StoredObject) -> bool:
    try:
        return _is_right(source.read_intact(item), item)
    except StorageError:
        return False
