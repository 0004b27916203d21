"""The entry of a database in a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from igny8_backup.errors import damaged_backup
from igny8_backup.formats.chunked import ChunkedDump, chunk_folder
from igny8_backup.formats.comparison import Baseline, Expected
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.packed import PackedPart
from igny8_backup.formats.source import Source


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
