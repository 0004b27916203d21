"""Put an archive together from its packs: :func:`read_archive`.

The index lists the ranges of packs that the archive needs, in the order of the archive. A pack is
decoded when the first of its ranges is needed, and its ranges that are needed later are kept in memory. If
the kept ranges exceed the limit, those needed last are dropped, and their packs are decoded again later.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Generator
from contextlib import closing

from igny8_backup.chunks.locations import PACK_BYTES
from igny8_backup.chunks.runs import Index, Runs
from igny8_backup.errors import IntegrityError, damaged_backup
from igny8_backup.streams import BLOCK, Blocks, Gap, Pieces
from igny8_backup.streams.observe import verified

KEPT_BYTES = 64 << 20
"""The largest total size in bytes of the ranges that are kept for later."""
_NONE = (1 << 32) - 1
_USED_UP = 10_000  # at most this many numbers in the heap are of ranges that are not kept any more

OpenPack = Callable[[str], Blocks]
"""Yields the decoded contents of the pack with this name."""


def read_archive(
    index: Index, sizes: dict[str, int], open_pack: OpenPack, *, name: str, kept_bytes: int = KEPT_BYTES
) -> Blocks:
    """Yield the archive that ``index`` describes, in blocks of about 1 MiB.

    ``sizes`` maps the names of packs to the sizes of their contents in bytes. ``name`` names the archive in
    messages. ``kept_bytes`` limits the ranges that are kept for later. Raises ``IntegrityError`` if a pack
    has another size, or if the archive does not have the length and SHA-256 that the index records. The
    SHA-256 is compared at the end, so rely on the blocks only after the generator has ended without an error.
    """
    pieces = _Reader(index, sizes, open_pack, kept_bytes).blocks()
    header = index.header
    return verified(_in_blocks(pieces), sha256=header.sha256, size=header.bytes, name=name)


def read_undamaged(
    index: Index,
    sizes: dict[str, int],
    open_pack: OpenPack,
    lost: set[str],
    *,
    kept_bytes: int = KEPT_BYTES,
) -> Pieces:
    """Yield the archive that ``index`` describes, with a ``Gap`` for each range of a damaged pack.

    ``lost`` are the names of the packs that are known to be damaged. A pack for which ``open_pack`` raises
    ``IntegrityError`` is added. ``open_pack`` must raise this error for every pack whose bytes are not those
    that were written, because the SHA-256 of the archive cannot be compared. The other arguments are those of
    :func:`read_archive`.
    """
    yield from _Reader(index, sizes, open_pack, kept_bytes).pieces(lost)


class _Reader:
    """The state of reading one archive.

    The archive is put together from ranges of packs, which the index calls runs and numbers from 0. ``_kept``
    maps the numbers of ranges that were decoded early to their bytes.
    """

    def __init__(self, index: Index, sizes: dict[str, int], open_pack: OpenPack, kept_bytes: int) -> None:
        self._index = index
        self._sizes = sizes
        self._open_pack = open_pack
        self._limit = kept_bytes
        self._next = _next_of_same_pack(index)
        self._piece_before: memoryview | bytes = b""
        self._kept: dict[int, bytes] = {}
        self._last: list[int] = []  # a heap of the numbers in ``_kept``, negative: the largest comes first
        self._size = 0
        # For the contents of each pack in turn. A page is allocated when it is used.
        self._buffer = memoryview(bytearray(PACK_BYTES))

    def blocks(self) -> Generator[memoryview | bytes, None, None]:
        """Yield the bytes of each range in the index, in order.

        Each is valid until the next one is requested.
        """
        for run in range(len(self._index.runs)):
            yield self._piece(run)

    def pieces(self, lost: set[str]) -> Pieces:
        """Yield the bytes of each range in the index, in order, or a ``Gap`` for a range of a damaged pack.

        ``lost`` are the names of the damaged packs; those that turn out to be damaged are added.
        """
        runs, names = self._index.runs, self._index.header.packs
        for run in range(len(runs)):
            name = names[runs.packs[run]]
            piece: bytes | Gap = Gap(runs.lengths[run])
            if name not in lost:
                try:
                    piece = bytes(self._piece(run))
                except IntegrityError:
                    lost.add(name)
            yield piece

    def _piece(self, run: int) -> memoryview | bytes:
        if _repeats(self._index.runs, run):
            return self._piece_before  # still valid: no pack has been decoded since
        piece: memoryview | bytes | None = self._kept.pop(run, None)
        if piece is None:
            piece = self._decode(run)
        else:
            self._size -= len(piece)
        self._piece_before = piece if _repeats(self._index.runs, run + 1) else b""
        return piece

    def _decode(self, run: int) -> memoryview | bytes:
        """Decode the pack of the range with the number ``run``, and return the bytes of that range.

        The bytes of later ranges of the same pack are kept, as far as the limit permits.
        """
        runs = self._index.runs
        content = self._read_pack(self._index.header.packs[runs.packs[run]])
        later = self._next[run]
        while later != _NONE:
            if later not in self._kept and not self._keep(later, content):
                break  # all further runs of this pack are needed even later
            later = self._next[later]
        piece = content[runs.offsets[run] : runs.offsets[run] + runs.lengths[run]]
        return piece if len(piece) >= BLOCK else bytes(piece)  # small pieces are collected

    def _keep(self, run: int, content: memoryview) -> bool:
        """Keep the bytes of the range ``run``, and drop ranges while the limit is exceeded.

        The range that is needed last is dropped first. Returns whether ``run`` is still kept.
        """
        offset, length = self._index.runs.offsets[run], self._index.runs.lengths[run]
        self._kept[run] = bytes(content[offset : offset + length])
        heapq.heappush(self._last, -run)
        self._size += length
        while self._size > self._limit:
            dropped = -heapq.heappop(self._last)
            self._size -= len(self._kept.pop(dropped, b""))
        if len(self._last) > 2 * len(self._kept) + _USED_UP:
            self._last = [-kept for kept in self._kept]
            heapq.heapify(self._last)
        return run in self._kept

    def _read_pack(self, key: str) -> memoryview:
        """Decode a pack; return its contents, which are valid until the next pack is decoded."""
        size, filled = self._sizes[key], 0
        most = min(size, PACK_BYTES)
        with closing(self._open_pack(key)) as blocks:
            for block in blocks:
                filled += len(block)
                if filled > most:
                    break
                self._buffer[filled - len(block) : filled] = block
        if filled != size:
            found = f"more than {most}" if filled > most else str(filled)
            error = damaged_backup(f"{key} has {found} bytes of contents, not the {size} that were written.")
            error.object_key = key
            raise error
        return self._buffer[:size]


def _repeats(runs: Runs, run: int) -> bool:
    """Return whether the range with the number ``run`` is the same as the one before."""
    return (
        0 < run < len(runs)
        and runs.offsets[run] == runs.offsets[run - 1]
        and runs.packs[run] == runs.packs[run - 1]
        and runs.lengths[run] == runs.lengths[run - 1]
    )


def _next_of_same_pack(index: Index) -> array[int]:
    """Return, for each range in the index, the number of the next range of the same pack.

    For the last range of a pack the number is ``_NONE``. Ranges that repeat the one before them are left out.
    """
    following = array("I", [_NONE]) * len(index.runs)
    seen = array("I", [_NONE]) * len(index.header.packs)
    for run in reversed(range(len(index.runs))):
        if _repeats(index.runs, run):
            continue
        pack = index.runs.packs[run]
        following[run] = seen[pack]
        seen[pack] = run
    return following


def _in_blocks(pieces: Generator[memoryview | bytes, None, None]) -> Blocks:
    """Yield pieces of any size as blocks of about ``BLOCK`` bytes."""
    small: list[memoryview | bytes] = []
    size = 0
    with closing(pieces):
        for piece in pieces:
            if len(piece) >= BLOCK:
                if small:
                    yield b"".join(small)
                    small, size = [], 0
                view = memoryview(piece)
                for start in range(0, len(view), BLOCK):
                    yield bytes(view[start : start + BLOCK])
                continue
            small.append(piece)
            size += len(piece)
            if size >= BLOCK:
                yield b"".join(small)
                small, size = [], 0
        if small:
            yield b"".join(small)
