"""The map on this host: in which packs storage has the chunks of earlier dumps of a database.

A map is a private file in ``STATE_DIR``. It consists of a magic number, the length of the header, the header
(JSON), the entries sorted by digest, a table, and the BLAKE2b digest of everything before. A digest can begin
with 65,536 different pairs of bytes: for each, the table has the position of the first entry. The file is
mapped into memory, so a lookup reads only the pages that it needs. ``map_writer`` writes maps. Entry point:
:func:`open_map`.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from igny8_backup.chunks.cutter import SEED_LIMIT, CutterIdentity
from igny8_backup.chunks.digests import DIGEST_BYTES, is_key
from igny8_backup.chunks.locations import PACK_BYTES, Location
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.objects import ListReference, StoredObject

SCHEMA = 3
UPGRADES: records.Upgrades = {
    1: lambda value: {**value, "lists": [], "packs": []},
    2: lambda value: {**value, "placement": []},
}
"""A map of schema 1 does not say which lists described its packs, so that none of its packs is used. A map of
schema 2 is of dumps in one archive."""
MAGIC = b"igny8map"
LENGTH = struct.Struct("<I")
PLACE = struct.Struct("<III")
"""What follows the digest in an entry: the number of the pack, the offset and the length in bytes."""
ENTRY_BYTES = DIGEST_BYTES + PLACE.size
STARTS = 1 << 16
"""The number of different pairs of bytes that a digest can begin with."""
CHECKSUM_BYTES = 32
_TABLE_BYTES = (STARTS + 1) * LENGTH.size
_HEADER_LIMIT = 64 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class MapPack:
    """A pack that holds chunks of a map: its key, sizes in bytes, and SHA-256 in hexadecimal digits.

    ``listed_in`` is the number of the list that describes it, in ``MapHeader.lists``. ``of_full``: the pack
    belongs to the full dump. ``written`` is a text that changes if somebody writes the pack anew
    (``Stored.written``); it is empty if the storage has no such text.
    """

    key: str
    stored_bytes: int
    raw_bytes: int
    sha256: str
    listed_in: int
    of_full: bool
    written: str

    @classmethod
    def of(
        cls, pack: StoredObject, *, listed_in: int = -1, of_full: bool = False, written: str = ""
    ) -> MapPack:
        """Return the entry of ``pack``. ``listed_in`` is -1 if the header has no list that describes it."""
        return cls(
            key=pack.key,
            stored_bytes=pack.stored_bytes,
            raw_bytes=pack.raw_bytes,
            sha256=pack.sha256,
            listed_in=listed_in,
            of_full=of_full,
            written=written,
        )


@dataclass(frozen=True, kw_only=True)
class MapHeader:
    """The header of a map. A map is used only for the same storage, database, recipients and cutter.

    ``storage`` is the identity of the storage, and ``prefix`` its folder. ``key`` (``DigestKey.text``) and
    ``seed`` are secrets of this host: the key of the digests, and the seed of the cutter. ``backup_id`` is
    the id of the backup with the last dump in the map, and ``started`` is when that dump began. ``full_id``
    is the id of the backup with the full dump on which that dump is based. ``lists`` refers to the lists in
    storage that describe the packs. Each reference has the digest of the list at the time when this host
    wrote or checked the list. ``placement`` has the tables whose rows the full dump had in data archives:
    for each of these archives, the ``schema.table`` names.
    """

    schema: int
    storage: str
    prefix: str
    host: str
    alias: str
    recipients: tuple[str, ...]
    cutter: CutterIdentity
    key: str
    seed: int
    backup_id: str
    started: datetime
    full_id: str
    lists: tuple[ListReference, ...]
    packs: tuple[MapPack, ...]
    placement: tuple[tuple[str, ...], ...] = ()


class ChunkMap:
    """An open map. Use it as a context manager."""

    def __init__(self, data: mmap.mmap, header: MapHeader, first: int) -> None:
        """``data`` is the whole file, whose first entry is at the offset ``first``."""
        self.header = header
        self._data = data
        self._first = first
        end = len(data) - CHECKSUM_BYTES - _TABLE_BYTES
        self._starts = array("I", data[end : end + _TABLE_BYTES])
        self._end = end
        self._names = [keys.pack_of(pack.key) for pack in header.packs]
        self._sizes = [min(pack.raw_bytes, PACK_BYTES) for pack in header.packs]

    def __len__(self) -> int:
        return (self._end - self._first) // ENTRY_BYTES

    def lookup(self, digests: Sequence[bytes]) -> list[Location | None]:
        """Return, for each digest, where storage has its chunk; ``None`` if the digest is not in the map."""
        data, first, starts = self._data, self._first, self._starts
        found: list[Location | None] = []
        for digest in digests:
            start = digest[0] << 8 | digest[1]
            at, end = first + starts[start] * ENTRY_BYTES, first + starts[start + 1] * ENTRY_BYTES
            at = data.find(digest, at, end)
            while at >= 0 and (at - first) % ENTRY_BYTES:  # bytes that only look like the digest
                at = data.find(digest, at + 1, end)
            found.append(None if at < 0 else self._location(at))
        return found

    def entries(self) -> Iterator[bytes]:
        """Yield all entries, sorted by their digests."""
        for at in range(self._first, self._end, ENTRY_BYTES * 4096):
            piece = self._data[at : min(at + ENTRY_BYTES * 4096, self._end)]
            yield from (piece[start : start + ENTRY_BYTES] for start in range(0, len(piece), ENTRY_BYTES))

    def close(self) -> None:
        self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _location(self, at: int) -> Location | None:
        pack, offset, length = PLACE.unpack_from(self._data, at + DIGEST_BYTES)
        if pack >= len(self._sizes) or offset + length > self._sizes[pack]:
            return None  # no map has such an entry
        return Location(self._names[pack], offset, length)


def open_map(path: Path) -> ChunkMap | None:
    """Open a map; return ``None`` if there is none.

    Raises ``IntegrityError`` if the file is damaged or from a newer release, ``OSError`` if it cannot be
    read. The checksum is compared with the contents.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(descriptor).st_size < len(MAGIC) + LENGTH.size + _TABLE_BYTES + CHECKSUM_BYTES:
            raise _damaged(path, "it is too short")
        data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    try:
        return _checked(data, path)
    except BaseException:
        data.close()
        raise


def _checked(data: mmap.mmap, path: Path) -> ChunkMap:
    checksum = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
    end = len(data) - CHECKSUM_BYTES
    for at in range(0, end, _BLOCK):
        checksum.update(data[at : min(at + _BLOCK, end)])
    if data[: len(MAGIC)] != MAGIC or checksum.digest() != data[end:]:
        raise _damaged(path, "its checksum is wrong")
    start = len(MAGIC) + LENGTH.size
    (length,) = LENGTH.unpack_from(data, len(MAGIC))
    entries_bytes = end - _TABLE_BYTES - start - length
    if length > _HEADER_LIMIT or entries_bytes < 0 or entries_bytes % ENTRY_BYTES:
        raise _damaged(path, "its parts do not fit together")
    header = records.from_json(
        MapHeader, data[start : start + length], name=str(path), schema=SCHEMA, upgrades=UPGRADES
    )
    if not (is_key(header.key) and 0 <= header.seed < SEED_LIMIT):
        raise _damaged(path, "its key or seed is malformed")
    return ChunkMap(data, header, start + length)


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"The map of chunks {path} is damaged: {why}.",
        unchanged="Nothing was changed.",
        hint="The next backup makes a new map, and stores the whole database again.",
    )
