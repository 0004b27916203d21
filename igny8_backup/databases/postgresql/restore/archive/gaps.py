"""Read an archive of ``pg_dump`` from which ranges are lost: find the tables that this concerns, and leave
their rows out.

After its table of contents, an archive has the data of one entry after another, in the order of the entries:
a byte for the kind of data, the number of the entry, pieces with their lengths, and a length of zero. Source:
``_StartData``, ``_StartLOs`` and ``_CloseArchive`` in PostgreSQL's ``pg_backup_custom.c``.

Behind a gap nobody knows where a piece begins. But rows are text without NUL bytes, so the end of a table and
the beginning of the next one can be recognised: a length of zero and the number of a later entry have more
NUL bytes in a row than any length of a piece. Large objects can contain anything, so what follows a gap in
them is lost.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from igny8_backup.databases.names import table_name
from igny8_backup.databases.postgresql.restore.archive.toc import Contents, Entry, read_contents
from igny8_backup.databases.values import LostData
from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK, Blocks, Gap, Pieces

_ROWS, _OBJECTS = 1, 3  # BLK_DATA and BLK_BLOBS in pg_backup_custom.c
_KINDS = {"TABLE DATA": _ROWS, "BLOBS": _OBJECTS}


def find_lost(pieces: Pieces) -> LostData:
    """Read a whole archive, some ranges of which are missing; return which data are lost.

    ``pieces`` are the archive, with a ``Gap`` for each missing range. Raises ``LostContentsError`` if the
    table of contents of the archive is not complete, and ``IntegrityError`` if the archive is malformed.
    """
    with closing(pieces):
        archive = _Archive(pieces)
        for _ in archive.data():
            pass
        lost = [archive.order[index] for index in sorted(archive.lost)]
    return LostData(
        entries=frozenset(entry.number for entry in lost),
        tables=tuple(sorted(_tables(lost))),
        found=frozenset(_tables(archive.order)),
        large_objects=any(_KINDS[entry.kind] == _OBJECTS for entry in lost),
    )


def _tables(entries: Sequence[Entry]) -> set[str]:
    return {table_name(one.schema, one.name) for one in entries if _KINDS[one.kind] == _ROWS}


def without_lost(pieces: Pieces, lost: LostData) -> Blocks:
    """Yield the archive ``pieces`` without the data of the entries in ``lost`` (see :func:`find_lost`).

    ``pg_restore`` can read the result if its options leave out these entries. Raises ``IntegrityError`` if
    other data are lost.
    """
    with closing(pieces):
        archive = _Archive(pieces)
        yield from archive.head()
        kept: list[bytes] = []
        size = 0
        for index, data in archive.data():
            if archive.order[index].number in lost.entries:
                continue
            kept.append(data)
            size += len(data)
            if size >= BLOCK:
                yield b"".join(kept)
                kept, size = [], 0
        if kept:
            yield b"".join(kept)
        more = {archive.order[index].number for index in archive.lost} - lost.entries
        if more:
            raise _malformed("more of it is lost than before")


class LostContentsError(IntegrityError):
    """The table of contents of an archive is not complete."""


class _Lost(Exception):
    """The next bytes of the archive are lost."""


class _Archive:
    """An archive that is being read. ``order`` are the entries with data, in the order of their data.

    ``lost`` are the indexes in ``order`` of the entries whose data are lost, as far as the archive was read.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._contents: Contents = read_contents(self._before_gap())
        self.order: Sequence[Entry] = [one for one in self._contents.entries if one.kind in _KINDS]
        self.lost: set[int] = set()
        self._buffer = b"".join(self._contents.head)[self._contents.end :]
        self._at = 0
        size = self._contents.int_size
        self._zero = bytes(1 + size)
        self._headers = {
            bytes([_KINDS[one.kind], 0]) + one.number.to_bytes(size, "little"): index
            for index, one in enumerate(self.order)
        }

    def head(self) -> Blocks:
        """Yield the table of contents."""
        yield b"".join(self._contents.head)[: self._contents.end]

    def data(self) -> Generator[tuple[int, bytes], None, None]:
        """Yield the data of each entry, in pieces, each with the index of the entry in ``order``.

        If an entry is in ``lost`` at the end, some of its pieces are missing.
        """
        position = 0
        while True:
            index = position
            try:
                if self._is_at_end():
                    break
                header = self._take(2 + self._contents.int_size)
                index = self._headers.get(header, -1)
                if index < position:
                    raise _malformed("its data are not in the order of its entries")
                yield index, header
                yield from ((index, piece) for piece in self._body(index))
                position = index + 1
            except _Lost:
                position = self._skip_to_next(index)
                self.lost |= set(range(index, position))

    def _body(self, index: int) -> Generator[bytes, None, None]:
        if _KINDS[self.order[index].kind] == _ROWS:
            yield from self._sections()
            return
        while (number := self._take(len(self._zero))) != self._zero:  # the oid of a large object
            yield number
            yield from self._sections()
        yield number

    def _sections(self) -> Generator[bytes, None, None]:
        """Yield the pieces of the data of one table or large object, each with its length before it.

        The last block is the length 0, which ends the data.
        """
        while (length := self._take(len(self._zero))) != self._zero:
            yield length
            missing = int.from_bytes(length[1:], "little")
            while missing:  # a piece is a row, which may be larger than the memory
                part = self._take_some(missing)
                missing -= len(part)
                yield part
        yield length

    def _skip_to_next(self, index: int) -> int:
        """Skip to the data of the next entry that can be recognised; return its index in ``order``.

        ``index`` is the entry in which, or before which, bytes are lost.
        """
        while True:
            self._buffer, self._at = self._zero, 0  # the zero behind the data may be lost
            recognisable = any(_KINDS[one.kind] == _ROWS for one in self.order[index : index + 1])
            try:
                while self._fill():
                    if not recognisable:
                        self._buffer = b""
                    elif (found := self._find_header(index)) is not None:
                        return found
                self._buffer = b""
                return len(self.order)
            except _Lost:
                continue

    def _find_header(self, index: int) -> int | None:
        """Find in the buffer the header of an entry that comes after ``index``, and move to the header."""
        size = 2 + self._contents.int_size
        start = 0
        while (at := self._buffer.find(self._zero, start)) >= 0:
            after = at + len(self._zero)
            found = self._headers.get(self._buffer[after : after + size], -1)
            if found > index:
                self._buffer, self._at = self._buffer[after:], 0
                return found
            start = at + 1
        self._buffer = self._buffer[-(size + len(self._zero)) :]
        return None

    def _take_some(self, most: int) -> bytes:
        """Return the next bytes, at least one and at most ``most``."""
        if self._is_at_end():
            raise _malformed("it ends too early")
        found = self._buffer[self._at : self._at + most]
        self._at += len(found)
        return found

    def _take(self, count: int) -> bytes:
        while len(self._buffer) - self._at < count:
            if not self._fill():
                raise _malformed("it ends too early")
        self._at += count
        return self._buffer[self._at - count : self._at]

    def _is_at_end(self) -> bool:
        return self._at >= len(self._buffer) and not self._fill()

    def _fill(self) -> bool:
        """Read the next bytes into the buffer; return False at the end. Raises ``_Lost`` at a gap."""
        for piece in self._pieces:
            if isinstance(piece, Gap):
                raise _Lost
            self._buffer, self._at = self._buffer[self._at :] + piece, 0
            return True
        return False

    def _before_gap(self) -> Blocks:
        for piece in self._pieces:
            if isinstance(piece, Gap):
                raise _malformed(
                    "its table of contents is in a damaged pack, so nothing can be restored",
                    LostContentsError,
                )
            yield piece


def _malformed(why: str, kind: type[IntegrityError] = IntegrityError) -> IntegrityError:
    return kind(
        f"The dump cannot be read around the damage: {why}.",
        unchanged="Nothing live was changed.",
        hint="Choose another backup: list_backups.",
    )
