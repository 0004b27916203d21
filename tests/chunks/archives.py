"""Archives for tests, and a storage of packs in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

from igny8_backup.chunks import cutter
from igny8_backup.chunks.digests import SHA256, DigestKey
from igny8_backup.chunks.locations import Location
from igny8_backup.chunks.reader import read_archive
from igny8_backup.chunks.runs import Index
from igny8_backup.chunks.writer import ArchiveWriter
from igny8_backup.streams import Blocks

KEY = DigestKey(bytes(range(32)), SHA256)
SEED = 123_456_789


def noise(size: int, seed: int = 0) -> bytes:
    """Return ``size`` bytes that do not repeat themselves."""
    return random.Random(seed).randbytes(size)


def in_blocks(data: bytes, sizes: Iterable[int]) -> Blocks:
    """Yield ``data`` in blocks of the given sizes, and the rest as one block."""
    start = 0
    for size in sizes:
        if data[start : start + size]:
            yield data[start : start + size]
        start += size
    if data[start:]:
        yield data[start:]


def cut(data: bytes, sizes: Iterable[int] = (), *, seed: int = SEED) -> list[bytes]:
    found = cutter.Cutter(cutter.identity(), seed)
    return [bytes(chunk) for chunk in found.cut(in_blocks(data, sizes))]


@dataclass
class Packs:
    """Packs in memory, by key, and where they hold which chunks. ``decoded`` are those that were read.

    ``behind`` is that of the writer. ``slow`` is called while a pack is stored.
    """

    stored: dict[str, bytes] = field(default_factory=dict)
    known: dict[bytes, Location] = field(default_factory=dict)
    decoded: list[str] = field(default_factory=list)
    behind: int = 0
    slow: Callable[[], object] = field(default=lambda: None)

    def write(self, archive: bytes, run: str, *, refer: bool = True) -> Index:
        """Store an archive in packs named after ``run``; with ``refer``, only the chunks not known yet."""
        written: dict[bytes, Location] = {}
        numbers = count(1)

        def find(digests: Sequence[bytes]) -> list[Location | None]:
            return [self.known.get(digest) if refer else None for digest in digests]

        def store(key: str, content: memoryview) -> None:
            assert key not in self.stored
            self.slow()
            self.stored[key] = bytes(content)

        writer = ArchiveWriter(
            cutter.Cutter(cutter.identity(), SEED),
            KEY,
            find=find,
            new_name=lambda: f"{run}-{next(numbers):04d}",
            store=store,
            record=written.setdefault,
            behind=self.behind,
        )
        index = writer.write(in_blocks(archive, [1 << 20] * 1000))
        self.known |= written
        return index

    @property
    def sizes(self) -> dict[str, int]:
        return {key: len(content) for key, content in self.stored.items()}

    def open_pack(self, key: str) -> Blocks:
        self.decoded.append(key)
        yield self.stored[key]

    def read(self, index: Index, *, kept_bytes: int = 64 << 20) -> bytes:
        blocks = read_archive(
            index,
            self.sizes,
            self.open_pack,
            name="the archive",
            kept_bytes=kept_bytes,
        )
        with closing(blocks):
            return b"".join(blocks)
