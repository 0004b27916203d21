"""A part of a backup (a tree, or a dump in chunks) whose contents are in packs.

Several backups can share a pack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from igny8_backup.errors import damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.lists import PackList
from igny8_backup.formats.objects import StoredObject, list_object
from igny8_backup.formats.parts.listed_packs import sizes_of
from igny8_backup.formats.record_types import NOT_STORED


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedPart:
    """The packs that a part of a backup needs. The base class of the entries of databases and trees.

    ``packs`` are all packs that the part needs, oldest first, including packs of earlier backups. Manifests
    of schema 1 store ``packs``. Later manifests store ``pack_lists``, the lists that name the packs, and
    ``catalog.lists`` reads the packs from these lists, as ``ListedPacks``. If a list cannot be read,
    ``packs_problem`` says why; if a list is damaged, ``damaged_list`` is its key. These two fields exist in
    memory only.
    """

    packs: Sequence[StoredObject] = ()
    pack_lists: tuple[PackList, ...] = ()
    packs_problem: str = field(default="", compare=False, metadata=NOT_STORED)
    damaged_list: str = field(default="", compare=False, metadata=NOT_STORED)

    def pack_folder(self, host: str) -> str:
        """Return the folder in storage of the packs, given the host of the backup."""
        raise NotImplementedError

    def own_objects(self) -> tuple[StoredObject, ...]:
        """Return the objects that hold the contents of the part, without packs."""
        raise NotImplementedError

    @property
    def needed_packs(self) -> Sequence[StoredObject]:
        """The packs that hold contents of the part."""
        return self.packs

    def objects(self) -> tuple[StoredObject, ...]:
        """Return the objects that hold the contents of the part."""
        return (*self.own_objects(), *self.needed_packs)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the key and the stored bytes of each of :meth:`objects`, which need not be made for that."""
        yield from ((item.key, item.stored_bytes) for item in self.own_objects())
        yield from sizes_of(self.needed_packs)

    def describe(self) -> str:
        """Return what the part is, for messages."""
        raise NotImplementedError

    @property
    def stored_packs(self) -> Sequence[StoredObject]:
        """The packs. Raises ``IntegrityError`` if a list that names them is missing or damaged."""
        if self.packs_problem:
            raise damaged_backup(f"The packs of {self.describe()} are not known: {self.packs_problem}")
        return self.packs

    def lists(self) -> tuple[StoredObject, ...]:
        """Return the lists that name the packs, each once."""
        return tuple(dict.fromkeys(map(list_object, self.pack_lists)))

    def pack_writers(self) -> frozenset[str]:
        """Return the ids of the runs that wrote the packs, even if the lists of the packs are lost."""
        if not self.pack_lists:
            return frozenset(filter(None, (keys.writer(pack.key) for pack in self.packs)))
        return frozenset(run for found in self.pack_lists for run in found.packs)

    def pack_keys(self, host: str) -> Iterator[str]:
        """Yield the keys of the packs, even if the lists that describe the packs are lost.

        ``host`` is the host of the backup. Raises ``ValueError`` if the manifest numbers the packs wrongly.
        """
        if not self.pack_lists:
            yield from (pack.key for pack in self.packs)
        for found in self.pack_lists:
            yield from found.pack_keys(self.pack_folder(host))
