"""Open and read the files of a tree: small ones whole, again if they change; large ones in pieces."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from igny8_backup.streams import BLOCK
from igny8_backup.trees.fs.sparse import ZEROS, read_at
from igny8_backup.trees.index.lines import complete_line
from igny8_backup.trees.model.entries import Entry, Files, Row, row
from igny8_backup.trees.model.records import Record, record_of, to_line
from igny8_backup.trees.model.xattrs import Xattrs
from igny8_backup.trees.scan.scan import Scan

AHEAD = 32
"""Files that are opened ahead of the one being read, so that the disk reads several at a time."""

TRIES = 3
"""How often a small file is read that changes while it is read."""

RACY_NS = 2 * 10**9
"""Nanoseconds within which two changes of a file may have the same times (FAT: two seconds)."""

T = TypeVar("T")


@dataclass(slots=True)
class OpenedFile:
    """An open file, as ``fstat`` saw it: number ``number`` of ``files``, with its ``path`` and ``size``.

    ``prefix`` is how its index line begins if it is unchanged (``unchanged_prefixes``), empty if it has
    changed since the scan. ``old`` is the record of its path in the parent index.

    Set by reading: ``data``, the contents of a small file, valid until the next one is read; ``sha256``;
    ``stable``, whether size and times were the same before and after; ``racy``, whether a later change may
    leave the same times; ``error``, why the file could not be read to its end.
    """

    files: Files
    number: int
    path: bytes
    size: int
    fd: int
    prefix: bytes
    old: Record | None
    xattrs: Xattrs = ()
    data: memoryview | None = None
    sha256: str = ""
    stable: bool = True
    racy: bool = False
    error: OSError | None = None

    @property
    def row(self) -> Row:
        """Its row in ``files``."""
        return self.files.rows[self.number]

    @property
    def entry(self) -> Entry:
        return self.files.entry(self.number)

    def update(self, status: os.stat_result) -> None:
        """Describe the file by this newer ``fstat``."""
        name = self.files.names[self.number]
        self.files = self.files._replace(names=[name], rows=[row(status)])
        self.number = 0
        self.size = status.st_size
        self.prefix = b""


def open_file(scan: Scan, files: Files, number: int, prefix: bytes, old: Record | None) -> OpenedFile | None:
    """Open one of the files that the scan has just yielded, and have the kernel read ahead.

    Returns None when it is no longer a regular file. Raises ``OSError`` when it is gone or refused.
    """
    fd = scan.open_file(files, number)
    now = os.fstat(fd)
    if not stat.S_ISREG(now.st_mode):
        os.close(fd)
        return None
    _, inode, device, _, _, _, size, _, ctime_ns = files.rows[number]
    if size:
        os.posix_fadvise(fd, 0, min(size, BLOCK), os.POSIX_FADV_WILLNEED)
    file = OpenedFile(files, number, files.path(number), size, fd, prefix, old)
    if now.st_ctime_ns != ctime_ns or now.st_ino != inode or now.st_dev != device:
        # Changed or replaced since lstat(2). The record must be of the instant of this fstat(2): from the
        # same inode and ctime a later run concludes that everything else is the same.
        file.update(now)
    return file


def ahead(items: Generator[T, None, None], count: int) -> Generator[T, None, None]:
    """Yield the same items, fetching ``count`` of them in advance."""
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
        close_all(waiting)


def close_all(items: Iterable[object]) -> None:
    """Close the open files among ``items``."""
    for item in items:
        if isinstance(item, OpenedFile):
            os.close(item.fd)


def is_same(file: OpenedFile, now: os.stat_result) -> bool:
    """Whether size and times of a file are those it had when it was opened."""
    *_, size, mtime_ns, ctime_ns = file.row
    return now.st_ctime_ns == ctime_ns and now.st_mtime_ns == mtime_ns and now.st_size == size


def is_racy(file: OpenedFile) -> bool:
    """Whether a change after this moment might leave the same size and times."""
    *_, mtime_ns, ctime_ns = file.row
    old = time.time_ns() - RACY_NS
    return mtime_ns > old or ctime_ns > old


def read_small(file: OpenedFile, into: memoryview) -> None:
    """Read a file of at most ``BLOCK`` bytes into the front of ``into``, which holds ``BLOCK`` bytes.

    Sets ``data`` and ``sha256``. Raises ``OSError`` when the file cannot be read.
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
        # As many bytes as its header promises.
        size = file.size
        into[found:size] = ZEROS[found:size]
    file.data = into[:size]
    file.sha256 = hashlib.sha256(file.data).hexdigest()


def read_piece(file: OpenedFile, at: int) -> bytes:
    """The next bytes of a large file, from offset ``at``; zeros where it has shrunk or cannot be read, which
    sets ``error``."""
    size = min(file.size - at, BLOCK)
    piece = b""
    if file.error is None:
        try:
            piece = read_at(file.fd, at, size)
        except OSError as error:
            file.error = error
    return piece or ZEROS[:size]


def digest(file: OpenedFile) -> str:
    """The SHA-256 of the whole file as it is now. Raises ``OSError`` when it cannot be read."""
    file.racy = is_racy(file)
    sha256 = hashlib.sha256()
    at = 0
    while piece := os.pread(file.fd, BLOCK, at):
        sha256.update(piece)
        at += len(piece)
    return sha256.hexdigest()


def line_of(file: OpenedFile, pack: str) -> bytes:
    """The index line of a file that was read and whose contents are in this pack."""
    racy = file.racy or not file.stable
    if file.prefix and not file.xattrs and not racy:
        return complete_line(file.prefix, file.sha256, pack)
    return to_line(
        record_of(file.entry, "file", xattrs=file.xattrs, sha256=file.sha256, pack=pack, racy=racy)
    )
