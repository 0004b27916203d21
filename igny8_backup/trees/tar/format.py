"""Write and read tars in the GNU format, with little overhead for many small files.

The standard library's ``tarfile`` spends most of its time on objects and checks that small files do not need.
The layout is that of the GNU tar manual, "Basic Tar Format" (``oldgnu_header``, magic "ustar  "). A name of
more than 100 bytes is stored, as raw bytes, in an extra ``././@LongLink`` member of type L, and such a link
target in one of type K. Numbers that do not fit their octal field are base-256. GNU tar, bsdtar and Python's
``tarfile`` can read such tars.
"""

from __future__ import annotations

import functools
import itertools
import struct
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

from igny8_backup.streams import BLOCK, Views
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.names import PATH_LIMIT, check_path, escape, order
from igny8_backup.trees.model.owners import Owner

RECORD = 512
END = bytes(2 * RECORD)
FILE, HARDLINK, SYMLINK, FOLDER = b"0", b"1", b"2", b"5"

_MAGIC = b"ustar  \0"
_LONG = b"././@LongLink"
_NOBODY = Owner(0, 0, "", "")
_OCTAL = frozenset(b"01234567")
_FIELDS = struct.Struct("100s 24x 12s 12x 8s c 100x 8s 247x")
"""The fields of a header that are read: name, size, checksum, type, magic."""


class Member(NamedTuple):
    """A regular file in a tar.

    Each piece of ``contents`` is valid until the next piece or member is requested.
    """

    path: bytes
    size: int
    contents: Iterable[memoryview]


def header(
    path: bytes,
    kind: bytes,
    mode: int,
    owner: Owner,
    mtime_ns: int,
    *,
    size: int = 0,
    target: bytes = b"",
) -> bytes:
    """Return the header of a tar member, with ``path`` as given and the time rounded down to seconds."""
    head = b""
    if len(target) > 100:
        head += _long(b"K", target)
    if len(path) > 100:
        head += _long(b"L", path)
    return head + _block(path, kind, mode, owner, size, mtime_ns // 10**9, target)


def padding(size: int) -> int:
    """Return the number of zero bytes that follow ``size`` bytes of contents in a tar."""
    return -size % RECORD


def header_size(path_length: int) -> int:
    """Return the number of bytes of the tar header of a file whose path has this length."""
    if path_length <= 100:
        return RECORD
    return 2 * RECORD + path_length + 1 + padding(path_length + 1)


def packed_size(path_length: int, size: int) -> int:
    """Return the number of bytes that a file takes in a tar, with header and padding."""
    return header_size(path_length) + size + padding(size)


def read_tar(blocks: Views) -> Iterator[Member]:
    """Yield the files of a pack (tar), in the order of their paths, while the pack is downloaded.

    A file that changed while it was backed up has two members in a row, and the second one counts. Contents
    that the caller does not read are skipped. Raises ``IntegrityError`` if a member is not a regular file, if
    members are not sorted, if a checksum is wrong, or if the tar is truncated. The name of each member must
    be ``./`` followed by a path below the root; any other name raises the same error. Trust no member before
    the iterator has ended.
    """
    source = _Source(blocks)
    last = b""
    while (found := source.take(RECORD)) != END[:RECORD]:
        kind, name, size = _parsed(found)
        if kind == b"L":
            name = _long_name(source, size)
            kind, _, size = _parsed(source.take(RECORD))
        if kind != FILE or not name.startswith(b"./"):
            raise damaged("A pack holds a member that is not a regular file.")
        path = check_path(name[2:])
        place = order(path)
        if place < last:
            raise damaged(f"A pack is not sorted at {escape(path)[:200]!r}.")
        last = place
        if size <= BLOCK:
            yield Member(path, size, (source.take(size),))
        else:
            contents = source.run(size)
            yield Member(path, size, contents)
            for _ in contents:
                pass
        source.take(padding(size))
    source.expect_zeros()


class _Source:
    """Reads a stream in pieces of any size, as views of its blocks. Pieces that span blocks are copied."""

    def __init__(self, blocks: Views) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")
        self._at = 0

    def run(self, size: int) -> Generator[memoryview, None, None]:
        """Yield the next ``size`` bytes in pieces. Raises ``IntegrityError`` if the stream ends."""
        while size:
            if self._at == len(self._block):
                self._block = memoryview(next(self._blocks, b""))
                self._at = 0
                if not self._block:
                    raise damaged("A pack is truncated.")
            piece = self._block[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def take(self, size: int) -> memoryview:
        """Return the next ``size`` bytes. Raises ``IntegrityError`` if the stream ends."""
        end = self._at + size
        if end <= len(self._block):
            piece = self._block[self._at : end]
            self._at = end
            return piece
        joined = bytearray()
        for piece in self.run(size):
            joined += piece
        return memoryview(joined)

    def expect_zeros(self) -> None:
        """Read the rest of the stream. Raises ``IntegrityError`` if it holds anything but zero bytes."""
        for block in itertools.chain((self.take(RECORD), self._block[self._at :]), self._blocks):
            if bytes(block).strip(b"\0"):
                raise damaged("A pack holds data after its end-of-archive block.")


def _long(kind: bytes, name: bytes) -> bytes:
    size = len(name) + 1
    return _block(_LONG, kind, 0o644, _NOBODY, size, 0, b"") + name + bytes(1 + padding(size))


def _block(path: bytes, kind: bytes, mode: int, owner: Owner, size: int, mtime: int, target: bytes) -> bytes:
    access, tail, counted = _shared(kind, mode, owner, target[:100])
    if size < 8**11 and 0 <= mtime < 8**11:
        front = b"%b%b%011o\0%011o\0" % (path[:100].ljust(100, b"\0"), access, size, mtime)
    else:
        front = path[:100].ljust(100, b"\0") + access + _number(size, 12) + _number(mtime, 12)
    return b"%b%06o\0 %b" % (front, _sum(front) + counted, tail)


@functools.lru_cache(maxsize=256)
def _shared(kind: bytes, mode: int, owner: Owner, target: bytes) -> tuple[bytes, bytes, int]:
    """Return the parts of a header that many members share, so that they are built only once.

    The parts are: the fields of mode and owner; the fields after the checksum; and the sum of all bytes in
    these fields plus eight blanks, which stand for the checksum itself.
    """
    uid, gid, user, group = owner
    access = b"%07o\0%b%b" % (mode, _number(uid, 8), _number(gid, 8))
    names = _owner(user).ljust(32, b"\0") + _owner(group).ljust(32 + 183, b"\0")
    tail = kind + target.ljust(100, b"\0") + _MAGIC + names
    # The front holds the mode and the owner; the checksum counts its own field as blanks.
    return access, tail, sum(tail) + 8 * 32


def _sum(data: bytes | memoryview) -> int:
    """Return the sum of at most 256 bytes, six times as fast as ``sum``.

    The lower half of an Adler-32 checksum (RFC 1950) is that sum plus one, modulo 65521.
    """
    return (zlib.adler32(data) & 0xFFFF) - 1


def _number(value: int, width: int) -> bytes:
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    raw = value.to_bytes(width, "big", signed=True)
    return bytes([raw[0] | 0x80]) + raw[1:]


def _owner(name: str) -> bytes:
    # The field holds 31 bytes and a NUL; a truncated name might be that of another user.
    raw = name.encode("utf-8")
    return raw if len(raw) < 32 else b""


def _parsed(block: memoryview) -> tuple[bytes, bytes, int]:
    """Return the type, name and size of a member from its header block. Raises ``IntegrityError``."""
    name, size, checksum, kind, magic = _FIELDS.unpack(block)
    # The checksum counts its own field as blanks.
    counted = _sum(block[:256]) + _sum(block[256:]) - sum(checksum) + 8 * 32
    if magic != _MAGIC or checksum != b"%06o\0 " % counted:
        raise damaged("A pack is damaged: the checksum of a header is wrong.")
    if size[0] == 0x80:
        return kind, name.rstrip(b"\0"), int.from_bytes(size[1:], "big")
    if size[11] or not _OCTAL.issuperset(size[:11]):
        raise damaged("A pack is damaged: a size is not a number.")
    return kind, name.rstrip(b"\0"), int(size[:11], 8)


def _long_name(source: _Source, size: int) -> bytes:
    if size > PATH_LIMIT + 3:  # "./" and the NUL at the end
        raise damaged("A pack holds a name longer than any path.")
    name = bytes(source.take(size))
    source.take(padding(size))
    if not name.endswith(b"\0"):
        raise damaged("A pack is damaged: a long name has no end.")
    return name[:-1]
