"""Open and read the files of a tree: a small file at once, a large file in pieces."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol, TypeVar

from igny8_backup.streams import BLOCK
from igny8_backup.trees.fs.sparse import ZEROS, read_at
from igny8_backup.trees.index.lines import Stored, complete_line
from igny8_backup.trees.model.entries import Entry, Files, Row, row
from igny8_backup.trees.model.records import Record, record_of, to_line
from igny8_backup.trees.model.xattrs import Xattrs

AHEAD = 32
"""Number of files that are opened ahead of the one being read, so that the disk reads several at a time."""

TRIES = 3
"""Largest number of attempts to read a small file that changes while it is read."""

RACY_NS = 2 * 10**9
"""Coarsest resolution of file times, in nanoseconds (that of FAT: two seconds).

If a file changes twice within this time, the second change may leave its times the same.
"""

T = TypeVar("T")


class Opener(Protocol):
    """The walk that yielded files, or something else that opens them as safely."""

    def open_file(self, files: Files, number: int) -> int:
        """Open file ``number`` of ``files`` and return the descriptor (see ``Scan.open_file``)."""
        ...


@dataclass(slots=True)
class OpenedFile:
    """An open file of a tree: file ``number`` of ``files``, the files that the walk yielded together.

    ``size`` is from ``fstat``. ``prefix`` is the beginning of the file's line in the new index
    (``unchanged_prefixes``), or empty if the file has changed since its folder was listed. ``old`` is the
    file's record in the index of the last backup, if it has one. ``unknown``: the contents were hashed, and
    no earlier backup holds them.

    Reading the file sets the other attributes. ``data`` holds the contents of a small file, until the next
    file is read. ``stable``: size and times were the same before and after reading. ``racy``: a later change
    of the file might leave its times the same. ``error``: the error that ended the reading early.
    """

    files: Files
    number: int
    path: bytes
    size: int
    fd: int
    prefix: bytes
    old: Record | None
    unknown: bool = False
    xattrs: Xattrs = ()
    data: memoryview | None = None
    sha256: str = ""
    stable: bool = True
    racy: bool = False
    error: OSError | None = None

    @property
    def row(self) -> Row:
        """The file's fields of ``lstat`` that a backup needs, as a plain tuple (see ``Status``)."""
        return self.files.rows[self.number]

    @property
    def entry(self) -> Entry:
        """The file as an ``Entry``: path, status, and the names of its owner."""
        return self.files.entry(self.number)

    def update(self, status: os.stat_result) -> None:
        """Replace the file's size, mode, owner and times by newer ones from ``fstat``."""
        name = self.files.names[self.number]
        self.files = self.files._replace(names=[name], rows=[row(status)])
        self.number = 0
        self.size = status.st_size
        self.prefix = b""


def open_file(opener: Opener, files: Files, number: int, prefix: bytes, old: Record | None) -> OpenedFile:
    """Open file ``number`` of ``files`` with ``opener.open_file``, and let the kernel read ahead.

    ``prefix`` is the beginning of the file's line in the new index, ``old`` the file's record in the index of
    the last backup, if it has one. Raises ``OSError`` if the file is gone or cannot be opened. Its ``errno``
    is ELOOP if the path is no longer a regular file.
    """
    fd = opener.open_file(files, number)
    now = os.fstat(fd)
    if not stat.S_ISREG(now.st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, "no longer a regular file")  # reported like a symlink
    _, inode, device, _, _, _, size, _, ctime_ns = files.rows[number]
    if size:
        os.posix_fadvise(fd, 0, min(size, BLOCK), os.POSIX_FADV_WILLNEED)
    file = OpenedFile(files, number, files.path(number), size, fd, prefix, old)
    if now.st_ctime_ns != ctime_ns or now.st_ino != inode or now.st_dev != device:
        # Changed or replaced since lstat(2). The record must hold the status of this fstat(2): a later
        # run concludes from the same inode and ctime that everything else is the same.
        file.update(now)
    return file


def ahead(items: Generator[T, None, None], count: int) -> Generator[T, None, None]:
    """Yield ``items``, while the next ``count`` items are already fetched.

    If the caller stops early, the files that were fetched are closed.
    """
    waiting: deque[T] = deque()
    try:
        with closing(items):
            for item in items:
                waiting.append(item)
                if len(waiting) > count:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
    finally:
        for item in waiting:
            if isinstance(item, OpenedFile):
                os.close(item.fd)


def is_same(file: OpenedFile, now: os.stat_result) -> bool:
    """Return whether a file has the same size and times as when it was opened."""
    *_, size, mtime_ns, ctime_ns = file.row
    return now.st_ctime_ns == ctime_ns and now.st_mtime_ns == mtime_ns and now.st_size == size


def is_racy(file: OpenedFile) -> bool:
    """Return whether a later change of the file might leave its size and times the same."""
    *_, mtime_ns, ctime_ns = file.row
    old = time.time_ns() - RACY_NS
    return mtime_ns > old or ctime_ns > old


def read_small(file: OpenedFile, into: memoryview) -> None:
    """Read a file of at most ``BLOCK`` bytes into the beginning of ``into``, which holds ``BLOCK`` bytes.

    A file that changes while it is read is read again, up to ``TRIES`` times in all. Raises ``OSError`` if
    the file cannot be read.
    """
    for _ in range(TRIES):
        file.racy = is_racy(file)
        size = file.size
        found = os.preadv(file.fd, [into[:size]], 0) if size else 0
        now = os.fstat(file.fd)
        file.stable = found == size and is_same(file, now)
        if file.stable or now.st_size > BLOCK:
            break
        file.update(now)
    if not file.stable:
        size = file.size  # the header promises as many bytes
        into[found:size] = ZEROS[found:size]
    file.data = into[:size]
    file.sha256 = hashlib.sha256(file.data).hexdigest()


def read_piece(file: OpenedFile, at: int) -> bytes:
    """Return at most ``BLOCK`` bytes of a large file, from offset ``at``.

    If the file has shrunk and ends before ``at``, the result is zeros. If the file cannot be read, the result
    is zeros too, and ``file.error`` is set.
    """
    size = min(file.size - at, BLOCK)
    piece = b""
    if file.error is None:
        try:
            piece = read_at(file.fd, at, size)
        except OSError as error:
            file.error = error
    return piece or ZEROS[:size]


def digest(file: OpenedFile, on_piece: Callable[[], object] = lambda: None) -> str:
    """Return the SHA-256 of a large file, and set its ``racy``. Holes are not read.

    ``on_piece`` is called for each ``BLOCK`` bytes. Raises ``OSError`` if the file cannot be read.
    """
    file.racy = is_racy(file)
    sha256 = hashlib.sha256()
    for at in range(0, file.size, BLOCK):
        sha256.update(read_at(file.fd, at, min(BLOCK, file.size - at)))
        on_piece()
    return sha256.hexdigest()


def line_of(file: OpenedFile, stored: Stored) -> bytes:
    """Return the index line of a file whose contents are ``stored``."""
    if stored.member == file.path:
        stored = stored._replace(member=b"")
    racy = file.racy or not file.stable
    if file.prefix and not file.xattrs and not racy:
        return complete_line(file.prefix, stored)
    return to_line(record_of(file.entry, "file", xattrs=file.xattrs, racy=racy, **stored._asdict()))
