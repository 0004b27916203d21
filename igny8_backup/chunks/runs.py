"""The index of an archive: the ranges of packs that make up the archive when they are joined in order.

In storage it is JSON, one value a line: the header, then one ``[pack, offset, length]`` for each run (range
of a pack). ``pack`` is the number of the pack in the header, counted from 0; ``offset`` and ``length`` are in
bytes of the contents of the pack, after decryption and decompression.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from igny8_backup.chunks.cutter import CutterIdentity
from igny8_backup.chunks.locations import PACK_BYTES, Location
from igny8_backup.errors import IntegrityError, damaged_backup
from igny8_backup.formats import records
from igny8_backup.formats.lists import is_sha256
from igny8_backup.streams import BLOCK, Blocks

SCHEMA = 1
RUNS_LIMIT = 8_000_000
"""The largest number of ranges in an index. Each needs 16 bytes of memory while the archive is read."""
HEADER_LIMIT = 64 << 20
"""The largest size of the header in bytes."""
_RUN_RE = re.compile(rb"\[([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})\]")
_LINE_LIMIT = 64


@dataclass(frozen=True, kw_only=True)
class IndexHeader:
    """The first line of an index. ``bytes`` and ``sha256`` are those of the whole archive.

    ``packs`` are the names (``ID-0001``) of the packs that the archive needs. The index does not contain
    their keys, because a rotation of the recipients changes the keys. ``runs`` is the number of lines that
    follow, one for each range of a pack. ``framing`` says how the archive was changed before it was cut; it
    is empty if it was not.
    """

    schema: int
    bytes: int
    sha256: str
    cutter: CutterIdentity
    packs: tuple[str, ...]
    runs: int
    framing: str = ""


class Runs:
    """The ranges of packs ("runs") that make up an archive, in order.

    Each has the number of a pack, an offset and a length.
    """

    def __init__(self) -> None:
        self.packs = array("I")
        self.offsets = array("I")
        self.lengths = array("I")

    def __len__(self) -> int:
        return len(self.packs)

    def append(self, pack: int, offset: int, length: int) -> None:
        """Add a range of a pack. If it continues the last range, that one becomes longer."""
        if self.packs and self.packs[-1] == pack and self.offsets[-1] + self.lengths[-1] == offset:
            self.lengths[-1] += length
        else:
            self.add(pack, offset, length)

    def add(self, pack: int, offset: int, length: int) -> None:
        """Add a range of a pack as a separate one, even if it continues the last range."""
        self.packs.append(pack)
        self.offsets.append(offset)
        self.lengths.append(length)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.packs, self.offsets, self.lengths, strict=True)


@dataclass(frozen=True)
class Index:
    """The index of an archive: a header, and the ranges of packs ("runs") that make up the archive."""

    header: IndexHeader
    runs: Runs

    def locations(self) -> Iterator[Location]:
        """Yield the ranges of packs that make up the archive, in order, with the names of their packs."""
        packs = self.header.packs
        return (Location(packs[pack], offset, length) for pack, offset, length in self.runs)


def to_blocks(index: Index) -> Blocks:
    """Yield the bytes of ``index`` as they are stored, but not compressed yet."""
    lines = [records.to_line(index.header) + b"\n"]
    size = 0
    for pack, offset, length in index.runs:
        lines.append(b"[%d,%d,%d]\n" % (pack, offset, length))
        size += len(lines[-1])
        if size >= BLOCK:
            yield b"".join(lines)
            lines, size = [], 0
    yield b"".join(lines)


def read_index(blocks: Blocks, key: str, sizes: Mapping[str, int]) -> Index:
    """Parse the index ``key``, whose decoded contents are ``blocks``.

    ``sizes`` maps the name of each pack that the backup needs to the size of its contents in bytes. Raises
    ``IntegrityError`` in these cases: the index is malformed or from a newer release; it names a pack that is
    not in ``sizes``; a range ends after the end of its pack; the lengths of all ranges do not add up to the
    size of the archive.
    """
    name = f"The index {key}"
    with closing(blocks):
        lines = _lines(blocks, name)
        header = records.from_json(IndexHeader, next(lines), name=name, schema=SCHEMA)
        limits = [_limit(pack, sizes, name) for pack in header.packs]
        if not (0 <= header.runs <= RUNS_LIMIT and header.bytes >= 0 and is_sha256(header.sha256)):
            raise damaged_backup(f"{name} is malformed: its header has impossible numbers.")
        if header.framing:
            raise IntegrityError(
                f"{name} describes an archive with the framing {header.framing!r}, which this release does"
                " not know.",
                unchanged="Nothing was changed.",
                hint="Install the release that wrote it, or a later one: pip install --upgrade igny8-backup.",
            )
        runs, total = Runs(), 0
        for line in lines:
            match = _RUN_RE.fullmatch(line)
            pack, offset, length = map(int, match.groups()) if match else (0, 0, 0)
            if not length or pack >= len(limits) or offset + length > limits[pack]:
                raise damaged_backup(f"{name} is malformed: {line[:50]!r} is no range of one of its packs.")
            runs.add(pack, offset, length)
            total += length
            if len(runs) > header.runs:
                break
    if (len(runs), total) != (header.runs, header.bytes):
        raise damaged_backup(
            f"{name} is malformed: it has {len(runs)} runs of {total} bytes, unlike its header, which says"
            f" {header.runs} of {header.bytes}."
        )
    return Index(header, runs)


def _limit(pack: str, sizes: Mapping[str, int], name: str) -> int:
    if pack not in sizes:
        raise damaged_backup(f"{name} needs the pack {pack!r}, which the manifest does not name.")
    return min(sizes[pack], PACK_BYTES)


def _lines(blocks: Blocks, name: str) -> Iterator[bytes]:
    """Yield the lines of an index without their ends, the header first."""
    rest, limit = b"", HEADER_LIMIT
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line
            limit = _LINE_LIMIT
        if len(rest) > limit:
            break
    if rest or limit == HEADER_LIMIT:
        raise damaged_backup(f"{name} is malformed: a line is incomplete or too long.")
