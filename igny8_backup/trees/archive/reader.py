"""Files opened ahead of their reading; small ones read whole, again if they change meanwhile, large ones in
pieces."""

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
from igny8_backup.trees.index.lines import stored_line
from igny8_backup.trees.model.entries import Entry, Files, Row, row
from igny8_backup.trees.model.records import Record, record_of, to_line
from igny8_backup.trees.model.xattrs import Xattrs
from igny8_backup.trees.scan.scan import Scan

AHEAD = 32
"""Files that are open before it is their turn, so that the disk has several to read at a time."""

TRIES = 3
"""How often a file is read that changes while it is read."""

RACY_NS = 2 * 10**9
"""So shortly before the reading, a change may leave the same times as one after it (FAT: two seconds)."""

T = TypeVar("T")


@dataclass(slots=True)
class Opened:
    """An open file, as ``fstat`` saw it: this one of ``files``, of which ``path`` and ``size`` are. ``begin``
    is how its line begins if it is stored as it is (``unchanged_lines``), empty where it has changed
    meanwhile; ``old`` is what the last backup knows of its path.

    Once it was read: ``data``, its contents, of a small one, good until the next is read; ``sha256`` of them;
    ``stable``, whether they are of one instant, as far as its times tell; ``racy``, whether a change since
    the reading began may have left the same times; ``error``, why it could not be read to its end.
    """

    files: Files
    number: int
    path: bytes
    size: int
    fd: int
    begin: bytes
    old: Record | None
    xattrs: Xattrs = ()
    data: memoryview | None = None
    sha256: str = ""
    stable: bool = True
    racy: bool = False
    error: OSError | None = None

    @property
    def row(self) -> Row:
        """What ``fstat`` said."""
        return self.files.rows[self.number]

    @property
    def entry(self) -> Entry:
        return self.files.entry(self.number)

    def is_now(self, status: os.stat_result) -> None:
        """Take it as it is now."""
        name = self.files.names[self.number]
        self.files = self.files._replace(names=[name], rows=[row(status)])
        self.number = 0
        self.size = status.st_size
        self.begin = b""


def open_file(walk: Scan, files: Files, number: int, begin: bytes, old: Record | None) -> Opened | None:
    """One of the files just met, as it is now; None when it is no regular file any more.

    ``OSError`` when it is gone or refused. The kernel is asked to begin reading.
    """
    fd = walk.open_file(files, number)
    now = os.fstat(fd)
    if not stat.S_ISREG(now.st_mode):
        os.close(fd)
        return None
    _, inode, device, _, _, _, size, _, ctime_ns = files.rows[number]
    if size:
        os.posix_fadvise(fd, 0, min(size, BLOCK), os.POSIX_FADV_WILLNEED)
    file = Opened(files, number, files.path(number), size, fd, begin, old)
    if now.st_ctime_ns != ctime_ns or now.st_ino != inode or now.st_dev != device:
        # Changed, or another file put in its place, since lstat(2). The record must be of the instant of
        # this fstat(2): the same inode and ctime will tell a later run that all the rest is the same.
        file.is_now(now)
    return file


def ahead(items: Generator[T, None, None], count: int) -> Generator[T, None, None]:
    """The same items, ``count`` of them fetched before the first is handed out."""
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
    """Close the files among these."""
    for item in items:
        if isinstance(item, Opened):
            os.close(item.fd)


def is_same(file: Opened, now: os.stat_result) -> bool:
    """Whether a file is still what it was when it was opened."""
    *_, size, mtime_ns, ctime_ns = file.row
    return now.st_ctime_ns == ctime_ns and now.st_mtime_ns == mtime_ns and now.st_size == size


def is_racy(file: Opened) -> bool:
    """Whether a change from now on, when the reading begins, could go unnoticed by size and times."""
    *_, mtime_ns, ctime_ns = file.row
    old = time.time_ns() - RACY_NS
    return mtime_ns > old or ctime_ns > old


def read_small(file: Opened, into: memoryview) -> None:
    """Read a file of at most ``BLOCK`` bytes: its ``data`` are in the front of ``into``, which has room for
    ``BLOCK`` bytes. ``OSError`` when it cannot be read."""
    for _ in range(TRIES):
        file.racy = is_racy(file)
        size = file.size
        found = os.preadv(file.fd, [into[:size]], 0) if size else 0
        now = os.fstat(file.fd)
        file.stable = found == size and is_same(file, now)
        if file.stable or now.st_size > BLOCK:
            break
        file.is_now(now)
    if not file.stable:
        # What its header promises, whatever became of it.
        size = file.size
        into[found:size] = ZEROS[found:size]
    file.data = into[:size]
    file.sha256 = hashlib.sha256(file.data).hexdigest()


def read_piece(file: Opened, at: int) -> bytes:
    """The next bytes of a large file; zeros from where it cannot be read (its ``error``) or has come to lack
    them."""
    size = min(file.size - at, BLOCK)
    piece = b""
    if file.error is None:
        try:
            piece = read_at(file.fd, at, size)
        except OSError as error:
            file.error = error
    return piece or ZEROS[:size]


def digest(file: Opened) -> str:
    """The SHA-256 of a whole file as it is now; ``OSError`` when it cannot be read."""
    file.racy = is_racy(file)
    sha256 = hashlib.sha256()
    at = 0
    while piece := os.pread(file.fd, BLOCK, at):
        sha256.update(piece)
        at += len(piece)
    return sha256.hexdigest()


def line_of(file: Opened, pack: str) -> bytes:
    """The line of a file that was read, and whose contents this pack holds."""
    racy = file.racy or not file.stable
    if file.begin and not file.xattrs and not racy:
        return stored_line(file.begin, file.sha256, pack)
    return to_line(
        record_of(file.entry, "file", xattrs=file.xattrs, sha256=file.sha256, pack=pack, racy=racy)
    )
