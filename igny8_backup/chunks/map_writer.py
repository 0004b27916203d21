"""Write a map of chunks: :class:`MapWriter` collects the chunks of a dump, sorts them and writes the file."""

from __future__ import annotations

import hashlib
import heapq
import os
import secrets
import tempfile
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
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
from igny8_backup.chunks.locations import DIGEST_BYTES
from igny8_backup.common.filesystem import sync, sync_folder
from igny8_backup.formats import records

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
        found = heapq.merge(earlier, self._entries, *self._read_parts())
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as file:
                _write(file, header, _one_of_each(found, frozenset(preferred)))
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


def _one_of_each(entries: Iterable[bytes], preferred: frozenset[int]) -> Iterator[bytes]:
    """Yield one of the sorted ``entries`` for each digest, if possible one in a ``preferred`` pack."""
    best = b""
    for entry in entries:
        if entry[:DIGEST_BYTES] != best[:DIGEST_BYTES]:
            if best:
                yield best
            best = entry
        elif _pack_of(entry) in preferred and _pack_of(best) not in preferred:
            best = entry
    if best:
        yield best


def _pack_of(entry: bytes) -> int:
    return int.from_bytes(entry[DIGEST_BYTES : DIGEST_BYTES + 4], "little")


def _write(file: IO[bytes], header: MapHeader, entries: Iterable[bytes]) -> None:
    checksum = hashlib.blake2b(digest_size=CHECKSUM_BYTES)

    def put(data: bytes) -> None:
        checksum.update(data)
        file.write(data)

    document = records.to_json(header)
    put(MAGIC + LENGTH.pack(len(document)) + document)
    counts = array("I", bytes(4 * (STARTS + 1)))
    for entry in entries:
        counts[(entry[0] << 8 | entry[1]) + 1] += 1
        put(entry)
    total = 0
    for number, count in enumerate(counts):
        total += count
        counts[number] = total
    put(counts.tobytes())
    file.write(checksum.digest())
