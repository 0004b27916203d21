"""Write a map of chunks: :class:`MapWriter` collects the chunks of a dump, sorts them and writes the file."""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Self

from igny8_backup.chunks.chunk_map import (
    CHECKSUM_BYTES,
    ENTRY_BYTES,
    LENGTH,
    MAGIC,
    PLACE,
    STARTS,
    MapHeader,
)
from igny8_backup.chunks.digests import DIGEST_BYTES
from igny8_backup.common.filesystem import sync, sync_folder
from igny8_backup.formats import records

_PACK_NUMBER = struct.Struct("<I")
_PACK_END = DIGEST_BYTES + _PACK_NUMBER.size
SORTED_AT_ONCE = 1 << 17
"""This many entries are sorted in memory. More are written to a file in sorted parts, which are merged."""


class MapWriter:
    """Collects entries in memory and in an unnamed file in ``folder``. Use it as a context manager.

    The methods raise ``OSError``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: list[bytes] = []
        self._parts: list[int] = []  # the number of entries in each part
        self._file: IO[bytes] | None = None

    def add(self, digest: bytes, pack: int, offset: int, length: int) -> None:
        """Add the chunk with this ``digest``: ``length`` bytes at ``offset`` in the pack number ``pack``.

        Packs are numbered from 0, in the order of the header that :meth:`write` receives.
        """
        self._entries.append(digest + PLACE.pack(pack, offset, length))
        if len(self._entries) == SORTED_AT_ONCE:
            self._save_part()

    def write(
        self, path: Path, header: MapHeader, earlier: Iterable[bytes] = (), preferred: Collection[int] = ()
    ) -> None:
        """Write the map to ``path``. An existing map is replaced atomically, once the new one is on the disk.

        ``earlier`` are entries of an earlier map to write as well. They are sorted, and their pack numbers
        are already those of ``header``. If a chunk is in several packs, only one entry is written, if
        possible one whose pack number is in ``preferred``.
        """
        self._entries.sort()
        sources = [_Groups(entries) for entries in (earlier, self._entries, *self._read_parts())]
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as file:
                _write(file, header, _merged(sources, preferred))
                file.flush()
                sync(file.fileno())
            os.replace(partial, path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise

    def close(self) -> None:
        if self._file:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _save_part(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - see close()
        self._entries.sort()
        self._file.writelines(self._entries)
        self._parts.append(len(self._entries))
        self._entries = []

    def _read_parts(self) -> list[Iterator[bytes]]:
        starts = [sum(self._parts[:number]) * ENTRY_BYTES for number in range(len(self._parts))]
        if self._file:
            self._file.flush()
        return [self._read_part(start, count) for start, count in zip(starts, self._parts, strict=True)]

    def _read_part(self, start: int, count: int) -> Iterator[bytes]:
        file = self._file
        if file is None:
            raise ValueError("the map is empty: it has no file to read")
        end, step = start + count * ENTRY_BYTES, ENTRY_BYTES * 1024
        for at in range(start, end, step):
            piece = os.pread(file.fileno(), min(step, end - at), at)
            yield from (piece[first : first + ENTRY_BYTES] for first in range(0, len(piece), ENTRY_BYTES))


def renumbered(entries: Iterable[bytes], numbers: Sequence[int | None]) -> Iterator[bytes]:
    """Change pack numbers in the entries of a map to ``numbers[old]``; omit entries that get ``None``."""
    for entry in entries:
        old, offset, length = PLACE.unpack_from(entry, DIGEST_BYTES)
        if old < len(numbers) and (number := numbers[old]) is not None:
            yield entry[:DIGEST_BYTES] + PLACE.pack(number, offset, length)


class _Groups:
    """Takes the entries that begin with one byte after another out of the sorted ``entries``."""

    def __init__(self, entries: Iterable[bytes]) -> None:
        self._groups = ((first, list(found)) for first, found in groupby(entries, itemgetter(0)))
        self._next = next(self._groups, None)

    def take(self, first: int) -> list[bytes]:
        """Return the entries that begin with the byte ``first``, which is higher than in the last call."""
        if self._next is None or self._next[0] != first:
            return []
        found = self._next[1]
        self._next = next(self._groups, None)
        return found


def _merged(sources: Sequence[_Groups], preferred: Collection[int]) -> Iterator[list[bytes]]:
    """Yield the sorted entries for each first byte, one for each digest, if possible in a ``preferred`` pack.

    A merge (``heapq.merge``) would compare entry by entry in Python; each group is sorted by one call.
    """
    packs = {_PACK_NUMBER.pack(number) for number in preferred}
    for first in range(256):
        found = sorted({entry for source in sources for entry in source.take(first)})
        chosen = {entry[:DIGEST_BYTES]: entry for entry in found}
        chosen |= {entry[:DIGEST_BYTES]: entry for entry in found if entry[DIGEST_BYTES:_PACK_END] in packs}
        yield list(chosen.values())


def _write(file: IO[bytes], header: MapHeader, groups: Iterable[list[bytes]]) -> None:
    """Write a map. Each of the ``groups`` are the sorted entries that begin with the same byte."""
    checksum = hashlib.blake2b(digest_size=CHECKSUM_BYTES)

    def put(data: bytes) -> None:
        checksum.update(data)
        file.write(data)

    document = records.to_line(header)
    put(MAGIC + LENGTH.pack(len(document)) + document)
    del document  # megabytes for a large database
    counts = array("I", bytes(4 * (STARTS + 1)))
    for entries in groups:
        for second, count in Counter(map(itemgetter(1), entries)).items():
            counts[(entries[0][0] << 8 | second) + 1] = count
        put(b"".join(entries))
    total = 0
    for number, count in enumerate(counts):
        total += count
        counts[number] = total
    put(counts.tobytes())
    file.write(checksum.digest())
