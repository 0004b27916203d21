"""Store an archive as chunks: put new chunks into packs, and refer to packs of earlier dumps for the others.

Entry point: :class:`ArchiveWriter`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from mmap import mmap

from igny8_backup.chunks.cutter import Cutter
from igny8_backup.chunks.digests import DigestKey
from igny8_backup.chunks.locations import PACK_BYTES, Location
from igny8_backup.chunks.runs import RUNS_LIMIT, SCHEMA, Index, IndexHeader, Runs
from igny8_backup.streams import Blocks
from igny8_backup.streams.behind import Behind
from igny8_backup.streams.observe import Digest

WINDOW = 16 << 20
"""The size in bytes of the parts of an archive for which the number of packs is limited."""
PACKS_LIMIT = 32
"""The chunks that begin in one window of an archive lie in at most this many packs. A reader has memory for
ranges of a few packs only, so without a limit it would have to decode the same packs again and again."""
_NEW_PACKS = 8  # two packs in a row hold more than one can, and the last chunk of a window may be one pack
_OLD_PACKS = PACKS_LIMIT - _NEW_PACKS
_OLD_RUNS = RUNS_LIMIT // 2

Find = Callable[[Sequence[bytes]], list[Location | None]]
"""Returns, for each digest, where storage has the chunk; ``None`` if the chunk must be stored."""


class ArchiveWriter:
    """Writes one archive. Call :meth:`write` once.

    ``key`` makes the digests of chunks. ``find`` says where storage has chunks. ``new_name`` returns the
    name of a new pack. ``store`` stores the contents of a new pack under its name. ``record`` is called with
    the digest and the location of each chunk, in order, but not for a chunk that repeats the one before.
    ``writers`` archives are written at the same time: the memory for a window is divided among them, and so
    is the number of packs in a window. ``behind`` is how many packs are stored at the same time, by threads,
    while the next pack is filled; with 0, ``store`` is called in the thread of the caller.
    """

    def __init__(
        self,
        cutter: Cutter,
        key: DigestKey,
        *,
        find: Find,
        new_name: Callable[[], str],
        store: Callable[[str, memoryview], object],
        record: Callable[[bytes, Location], object],
        writers: int = 1,
        behind: int = 0,
    ) -> None:
        self._cutter = cutter
        self._digest = key.digest
        self._find = find
        self._new_name = new_name
        self._store = store
        self._record = record
        self._window = WINDOW // writers
        self._old_packs = _OLD_PACKS // writers
        self._runs = Runs()
        self._numbers: dict[str, int] = {}  # of packs in the index
        self._last: tuple[bytes, Location | None] = (b"", None)  # digest and location of the last chunk
        # For all packs in turn. A page is allocated when it is used.
        self._packs = deque(memoryview(mmap(-1, PACK_BYTES)) for _ in range(behind + 1))
        self._behind = Behind(behind) if behind else None
        self._used = 0
        self._name = ""

    def write(self, blocks: Blocks) -> Index:
        """Store the archive ``blocks``, and return its index.

        Chunks that storage already has are not stored again, unless the index would otherwise exceed
        ``PACKS_LIMIT`` or ``RUNS_LIMIT``. All packs are stored when this returns. Raises the errors of
        ``blocks`` and of the callbacks.
        """
        digest = Digest()
        window: list[memoryview] = []
        end = 0
        with self._behind or nullcontext(), closing(self._cutter.cut(digest.watch(blocks))) as chunks:
            for chunk in chunks:
                window.append(chunk)
                end += len(chunk)
                if end // self._window > (end - len(chunk)) // self._window:
                    self._write_window(window)
                    window = []
            self._write_window(window)
            self._end_pack()
        header = IndexHeader(
            schema=SCHEMA,
            bytes=digest.size,
            sha256=digest.sha256,
            cutter=self._cutter.identity,
            packs=tuple(self._numbers),
            runs=len(self._runs),
        )
        return Index(header, self._runs)

    def _write_window(self, window: list[memoryview]) -> None:
        digests = list(map(self._digest, window))
        known: list[Location | None] = [None] * len(window)
        may_refer = len(self._runs) < _OLD_RUNS
        if may_refer:
            known = _within_limit(_of_same_length(self._find(digests), window), self._old_packs)
        for chunk, digest, location in zip(window, digests, known, strict=True):
            # The zeros of a sparse file are one chunk, again and again.
            repeated = self._last[1] if may_refer and digest == self._last[0] else None
            found = location or repeated or self._add(chunk)
            number = self._numbers.setdefault(found.pack, len(self._numbers))
            self._runs.append(number, found.offset, found.length)
            if (digest, found) != self._last:
                self._record(digest, found)
            self._last = digest, found

    def _add(self, chunk: memoryview) -> Location:
        """Add a chunk to the pack that is being filled; return the location of the chunk in that pack."""
        if self._used + len(chunk) > PACK_BYTES:
            self._end_pack()
        if not self._used:
            self._name = self._new_name()
        offset, self._used = self._used, self._used + len(chunk)
        self._packs[0][offset : self._used] = chunk  # copied: the view keeps a large block in memory
        return Location(self._name, offset, len(chunk))

    def _end_pack(self) -> None:
        if self._used:
            store = partial(self._store, self._name, self._packs[0][: self._used])
            self._used = 0
            if self._behind:
                self._behind.call(store)
                self._packs.rotate(-1)
            else:
                store()


def _of_same_length(found: list[Location | None], window: list[memoryview]) -> list[Location | None]:
    return [
        location if location and location.length == len(chunk) else None
        for location, chunk in zip(found, window, strict=True)
    ]


def _within_limit(found: list[Location | None], limit: int) -> list[Location | None]:
    """Return ``found`` without some locations, so that the others are in at most ``limit`` packs.

    ``found`` has the locations of some consecutive chunks. The packs that hold the most bytes of these chunks
    are kept. Locations in other packs become ``None``, so their chunks are stored anew.
    """
    needed: Counter[str] = Counter()
    for location in found:
        if location:
            needed[location.pack] += location.length
    if len(needed) <= limit:
        return found
    most = {pack for pack, _ in needed.most_common(limit)}
    return [location if location and location.pack in most else None for location in found]
