"""The manifest of a backup.

It can be read without a key, so it contains nothing about the contents of the backup. Facts about the
contents are in the encrypted details: see ``formats.details``. ``formats.manifest_reader`` parses manifests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from igny8_backup.errors import damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import ChunkedDump, chunk_folder
from igny8_backup.formats.comparison import Baseline, Expected
from igny8_backup.formats.objects import ListReference, StoredObject, list_object
from igny8_backup.formats.packed import PackedPart
from igny8_backup.formats.record_types import NOT_STORED
from igny8_backup.formats.source import Source

SCHEMA = 5
"""The newest schema of manifests: see ``formats.manifest_schema``."""
COMPLETE, FAILED, NOT_COPIED = "complete", "failed", "not copied"
"""States of a part of a backup. A copy lacks a part that is ``NOT_COPIED``; a run can end in the others."""
INCOMPLETE, RUNNING, STOPPED, LOCKED = "incomplete", "running", "stopped", "locked"
"""The other outcomes of a run. ``LOCKED``: it gave up waiting for the lock, and did nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabasePart(PackedPart):
    """The copy of a database in a backup.

    ``engine`` is ``postgresql`` or ``sqlite``. ``error`` is the class of the exception if the dump failed.
    ``rows`` is the number of rows in the dump, without those of tables that ``migrate`` fills; ``None`` if
    they were not counted. ``baseline`` is the earlier copy with which this copy is compared. It is ``None``
    in backups of earlier releases, and if the host did not know whether the earlier copy is genuine.
    ``expected`` is the size that a restore or an undo has announced for this copy. ``data_time`` is the time
    up to which a standby had replayed the changes of its primary; ``None`` if the dump was made from a
    primary. ``source`` is ``None`` in backups of earlier releases. ``chunked`` is ``None`` if ``object`` is
    the whole dump. Otherwise ``object`` is the index of the dump, and the packs of the part hold the chunks
    that the index refers to. ``data`` are the data archives: the rows of some tables, which ``object`` lacks.
    In a dump in chunks, ``data`` are the indexes of the data archives.
    """

    kind: ClassVar[str] = "database"

    alias: str
    engine: str
    state: str
    started: datetime
    finished: datetime
    object: StoredObject | None = None
    server_version: str = ""
    dump_version: str = ""
    error: str = ""
    rows: int | None = None
    expected: Expected | None = None
    baseline: Baseline | None = None
    data_time: datetime | None = None
    source: Source | None = None
    chunked: ChunkedDump | None = None
    data: tuple[StoredObject, ...] = ()

    @property
    def as_of(self) -> datetime:
        """The time of the data. In a dump from a standby, the data may be much older than the dump."""
        return min(self.data_time, self.started) if self.data_time else self.started

    @property
    def name(self) -> str:
        """The alias of the database. Trees have a ``name`` too, so that code can treat both alike."""
        return self.alias

    @property
    def bytes(self) -> int:
        """The size of the dump before compression; 0 if there is no complete dump."""
        if self.chunked:
            return sum(archive.bytes for archive in self.chunked.archives)
        return self.object.raw_bytes + sum(item.raw_bytes for item in self.data) if self.object else 0

    @property
    def dump(self) -> StoredObject:
        """The stored dump, or the index of a dump in chunks.

        Raises ``IntegrityError`` if there is no complete dump.
        """
        if self.object is None:
            raise damaged_backup(f"The manifest of the backup names no dump of the database {self.alias!r}.")
        return self.object

    @property
    def archives(self) -> tuple[StoredObject, ...]:
        """The stored archives of the dump, the main one first; their indexes if the dump is in chunks.

        Raises ``IntegrityError`` if there is no complete dump.
        """
        return (self.dump, *self.data)

    def own_objects(self) -> tuple[StoredObject, ...]:
        """Return the stored archives of the dump, or the indexes of a dump in chunks."""
        return (self.object, *self.data) if self.object else ()

    @property
    def needed_packs(self) -> Sequence[StoredObject]:
        """The packs with the chunks of the dump."""
        return self.packs if self.object else ()

    def pack_folder(self, host: str) -> str:
        return chunk_folder(host, self.alias)

    def describe(self) -> str:
        return f"the database {self.alias!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TreePart(PackedPart):
    """The copy of a tree (a folder of files) in a backup. ``role`` is ``sites`` or ``logs``.

    ``bytes`` is the size of the contents of all files; ``allocated`` is what they occupied on the disk,
    without the holes of sparse files, or ``None`` in backups of earlier releases. ``skipped`` counts the
    files that the details list as skipped, ``excluded`` those that the settings exclude. The packs are tar
    archives of files; with large files in chunks, also the indexes of the tar archives of these files, and
    the packs of their chunks (see ``formats.chunked``). ``full`` means that every file was read and stored
    again. ``expected`` and ``baseline`` are the same as in :class:`DatabasePart`.
    """

    kind: ClassVar[str] = "files"

    name: str
    role: str
    state: str
    started: datetime
    finished: datetime
    index: StoredObject | None = None
    folders: StoredObject | None = None
    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    allocated: int | None = None
    skipped: int = 0
    excluded: int = 0
    full: bool = True
    error: str = ""
    expected: Expected | None = None
    baseline: Baseline | None = None

    @property
    def stored_index(self) -> StoredObject:
        """The stored index (list of files). Raises ``IntegrityError`` if there is no complete copy."""
        if self.index is None:
            raise damaged_backup(f"The manifest of the backup names no index of the tree {self.name!r}.")
        return self.index

    def own_objects(self) -> tuple[StoredObject, ...]:
        """Return the index (list of files), and the tar of folders and links."""
        return tuple(item for item in (self.index, self.folders) if item)

    def pack_folder(self, host: str) -> str:
        return keys.pack_folder(host, self.name)

    def describe(self) -> str:
        return f"the tree {self.name!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The databases, trees and objects of a backup. A backup exists only once its manifest exists.

    ``safety`` marks the backup that ``restore_all --in-place`` makes before it replaces a database. It is
    kept until ``undo_restore --discard`` or ``pin_backup --unpin`` releases it, and a restore uses it only if
    its id is given. ``prefix`` is the setting ``PREFIX``; ``None`` in backups of earlier releases.
    ``blocks`` names the list of blocks of the backup (see ``formats.lists``); ``None`` if its own objects are
    smaller than a block, or in older backups. ``recipients`` are the public keys that the objects are
    encrypted to; empty in older backups. If these keys were changed later, ``replaces`` has the SHA-256 of
    each earlier manifest, oldest first. ``fleet`` is the id of the fleet backup that the backup is a part of;
    empty if there is none. ``left_out``, in memory only, are the parts that a copy lacks.
    """

    schema: int
    id: str
    host: str
    environment: str
    label: str
    started: datetime
    finished: datetime
    requested: tuple[str, ...]
    software: dict[str, str]
    details: StoredObject
    databases: tuple[DatabasePart, ...] = ()
    trees: tuple[TreePart, ...] = ()
    safety: bool = False
    prefix: str | None = None
    blocks: ListReference | None = None
    recipients: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    fleet: str = ""
    left_out: tuple[DatabasePart | TreePart, ...] = field(default=(), compare=False, metadata=NOT_STORED)

    @property
    def parts(self) -> tuple[DatabasePart | TreePart, ...]:
        return (*self.databases, *self.trees)

    @property
    def complete(self) -> bool:
        """Whether the copy of every requested database and tree is complete."""
        return all(part.state == COMPLETE for part in self.parts)

    def contents(self) -> tuple[StoredObject, ...]:
        """Return the objects that hold what was backed up, beginning with the details."""
        return (self.details, *(item for part in self.parts for item in part.objects()))

    def lists(self) -> tuple[StoredObject, ...]:
        """Return the lists that the manifest names, each once."""
        own = (list_object(self.blocks),) if self.blocks else ()
        return tuple(dict.fromkeys((*own, *(item for part in self.parts for item in part.lists()))))

    def objects(self) -> tuple[StoredObject, ...]:
        """Return every object that the backup needs, its lists included, beginning with the details."""
        return (*self.contents(), *self.lists())

    def own_objects(self) -> tuple[StoredObject, ...]:
        """Return :meth:`objects` without packs."""
        return (self.details, *(item for part in self.parts for item in part.own_objects()), *self.lists())

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the key and the stored bytes of each of :meth:`objects`, which need not be made for that."""
        yield from ((item.key, item.stored_bytes) for item in (self.details, *self.lists()))
        yield from (item for part in self.parts for item in part.sizes())

    def named_keys(self) -> set[str]:
        """Return the keys of all objects that the backup needs, even of packs whose list is lost."""
        whole = self.as_stored() if self.left_out else self  # a copy may hold a part of it only
        own = {item.key for item in (*self.own_objects(), *whole.own_objects())}
        return own.union(*(part.pack_keys(self.host) for part in whole.parts))

    def as_stored(self) -> Manifest:
        """Return the manifest as it is stored: with all parts, without the packs that its lists name."""
        if not self.left_out and not any(part.packs for part in self.parts if part.pack_lists):
            return self
        left_out = {(part.kind, part.name): part for part in self.left_out}
        parts = [left_out.get((part.kind, part.name), part) for part in self.parts]
        stored = [replace(part, packs=()) if part.pack_lists else part for part in parts]
        return replace(
            self,
            databases=tuple(part for part in stored if isinstance(part, DatabasePart)),
            trees=tuple(part for part in stored if isinstance(part, TreePart)),
            left_out=(),
        )

    @property
    def stored_bytes(self) -> int:
        return sum(size for _, size in self.sizes())

    @property
    def encrypted(self) -> bool:
        return "age" in self.details.codecs
