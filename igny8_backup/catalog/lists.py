"""Read the lists that manifests name: lists of packs, and lists of the blocks of objects."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from threading import Lock
from typing import TypeVar

from igny8_backup.catalog.failures import of_one_object
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats.lists import BLOCK_BYTES, SIZE_LIMIT, ListedObject, ObjectList, PackList, read_list
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import ListReference, StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.listed_packs import ListedPacks, PackGroup, PackGroups, select
from igny8_backup.formats.parts.pack_list_reader import read_packs
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.store import MissingObjectError, Store
from igny8_backup.store.intact import find_intact
from igny8_backup.streams import Blocks
from igny8_backup.streams.observe import verified

Spares = Callable[[str, str, int], Sequence[Callable[[], Blocks]]]
P = TypeVar("P", DatabasePart, TreePart)

DIGESTS_KEPT = 8
"""Of this many lists, those that were used last, the digests of blocks are kept in memory."""


class Lists:
    """Reads lists and keeps their contents, which never change: a list is identified by its SHA-256.

    The packs that a list describes are kept for every list that was read. The digests of blocks need more
    memory, so they are kept for a few lists only. Safe to use from several threads.

    ``spares`` is called for a list that is missing or damaged, with its key, SHA-256 and size. It returns
    functions, each of which reads the list from another storage.
    """

    def __init__(self, spares: Spares = lambda key, sha256, size: ()) -> None:
        self._spares = spares
        self._packs: dict[ListReference, PackGroups] = {}
        self._digests: OrderedDict[ListReference, dict[str, tuple[StoredObject, bytes]]] = OrderedDict()
        self._lock = Lock()

    def with_packs(self, store: Store, manifest: Manifest) -> Manifest:
        """Return the manifest with the packs that its lists name.

        A database or tree whose lists are missing or damaged has no packs, but a ``packs_problem``. Raises
        ``StorageError`` if the storage cannot be used at all.
        """
        if not any(part.pack_lists for part in manifest.parts):
            return manifest
        databases = tuple(self._with_packs(store, part, manifest.host) for part in manifest.databases)
        trees = tuple(self._with_packs(store, tree, manifest.host) for tree in manifest.trees)
        return replace(manifest, databases=databases, trees=trees)

    def digests(self, store: Store, item: StoredObject) -> bytes:
        """Return the digests of the blocks of an object, one after the other.

        The result is empty if the object is in no list. Raises ``IntegrityError``, ``MissingObjectError`` or
        ``StorageError`` if the list of the object is damaged or cannot be read.
        """
        if item.stored_bytes <= BLOCK_BYTES:
            return bytes.fromhex(item.sha256)
        if item.blocks_in is None:
            return b""
        with self._lock:
            found = self._digests.get(item.blocks_in)
            if found is None:
                found = self._digests[item.blocks_in] = _digests_in(self._read(store, item.blocks_in))
            self._digests.move_to_end(item.blocks_in)
            while len(self._digests) > DIGESTS_KEPT:
                self._digests.popitem(last=False)
        listed, digests = found.get(item.key, (None, b""))
        if listed != item:
            raise IntegrityError(
                f"The list {item.blocks_in.key} and the manifest differ about the object {item.key}.",
                unchanged="Nothing live was changed.",
            )
        return digests

    def listed(self, store: Store, found: ListReference) -> tuple[ListedObject, ...]:
        """Return the objects in the list ``found``, with the digests of their blocks.

        Raises the errors of :meth:`digests`.
        """
        return self._read(store, found).objects

    def _with_packs(self, store: Store, part: P, host: str) -> P:
        packs: list[tuple[PackGroup, range]] = []
        for found in part.pack_lists:
            try:
                known = self._packs_in(store, _reference(found))
                packs += select(known, found, part.pack_folder(host))
            except KeyError as missing:
                problem = f"The list {found.key} does not describe the pack {missing.args[0]}."
                return replace(part, packs_problem=problem, damaged_list=found.key)
            except IntegrityError as error:
                return replace(part, packs_problem=error.what, damaged_list=found.key)
            except MissingObjectError as error:
                return replace(part, packs_problem=error.what)
            except StorageError as error:
                return replace(part, packs_problem=of_one_object(store, error))
        return replace(part, packs=ListedPacks(packs))

    def _packs_in(self, store: Store, found: ListReference) -> PackGroups:
        with self._lock:
            if found not in self._packs:
                self._packs[found] = read_packs(self._content(store, found), found)
            return self._packs[found]

    def _read(self, store: Store, found: ListReference) -> ObjectList:
        return read_list(self._content(store, found), found.key)

    def _content(self, store: Store, found: ListReference) -> bytes:
        """Return the list ``found`` as it is stored, after its size and digest were checked."""
        if found.stored_bytes > SIZE_LIMIT:
            what = f"The list {found.key} would have {found.stored_bytes} bytes. The limit is {SIZE_LIMIT}."
            raise IntegrityError(what, unchanged="It was not read, and nothing live was changed.")
        try:
            return _checked(store.open(found.key), found)
        except (MissingObjectError, IntegrityError):
            # A bucket may keep the version that was written, or a copy may have it.
            intact = find_intact(store, found.key, sha256=found.sha256, size=found.stored_bytes)
            spare = None if intact else self._read_spare(found)
            if intact is None and spare is None:
                raise
            return _checked(store.open_version(found.key, intact), found) if intact else spare or b""

    def _read_spare(self, found: ListReference) -> bytes | None:
        for read in self._spares(found.key, found.sha256, found.stored_bytes):
            with suppress(IntegrityError, StorageError):
                return _checked(read(), found)
        return None


def _checked(blocks: Blocks, found: ListReference) -> bytes:
    name = f"The list {found.key}"
    with closing(verified(blocks, sha256=found.sha256, size=found.stored_bytes, name=name)) as checked:
        return b"".join(checked)


def _digests_in(read: ObjectList) -> dict[str, tuple[StoredObject, bytes]]:
    return {item.key: (item.as_stored(), item.digests()) for item in read.objects}


def _reference(found: PackList) -> ListReference:
    return ListReference(key=found.key, stored_bytes=found.stored_bytes, sha256=found.sha256)
