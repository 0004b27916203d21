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
from igny8_backup.trees.records import Record
from igny8_backup.trees.scan import Entry, Scan
from igny8_backup.trees.sparse import ZEROS, read_at
from igny8_backup.trees.xattrs import Xattrs

AHEAD = 32
"""Files that are open before it is their turn, so that the disk has several to read at a time."""

TRIES = 3
"""How often a file is read that changes while it is read."""

RACY_NS = 2 * 10**9
"""So shortly before the reading, a change may leave the same times as one after it (FAT: two seconds)."""

T = TypeVar("T")


@dataclass(slots=True)
class Opened:
    """An open file, as ``fstat`` saw it; ``old`` is what the last backup knows of its path, ``error`` why it
    could not be read to its end."""

    entry: Entry
    fd: int
    xattrs: Xattrs
    old: Record | None
    error: OSError | None = None


def open_file(walk: Scan, entry: Entry) -> tuple[int, Entry] | None:
    """A descriptor of the file just met, and what it is now; None when it is no regular file any more.

    ``OSError`` when it is gone or refused. The kernel is asked to begin reading.
    """
    fd = walk.open_file(entry)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        return None
    if entry.size:
        os.posix_fadvise(fd, 0, min(entry.size, BLOCK), os.POSIX_FADV_WILLNEED)
    seen = entry.status
    if (seen.st_ctime_ns, seen.st_ino, seen.st_dev) != (status.st_ctime_ns, status.st_ino, status.st_dev):
        # Changed, or another file put in its place, since lstat(2). The record must be of the instant of
        # this fstat(2): the same inode and ctime will tell a later run that all the rest is the same.
        entry = walk.describe(entry.path, status, "file")
    return fd, entry


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


def is_same(entry: Entry, status: os.stat_result) -> bool:
    """Whether a file is still what it was when it was opened."""
    now = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return now == (entry.size, entry.mtime_ns, entry.ctime_ns)


def is_racy(entry: Entry) -> bool:
    """Whether a change right after this reading could go unnoticed by size and times."""
    return time.time_ns() - max(entry.mtime_ns, entry.ctime_ns) < RACY_NS


def read_small(file: Opened, walk: Scan, into: memoryview) -> tuple[Entry, memoryview, bool]:
    """The contents of a file of at most ``BLOCK`` bytes, the entry that they belong to, and whether they are
    of one instant, as far as its times tell. ``OSError`` when they cannot be read.

    They are in the front of ``into``, which has room for ``BLOCK`` bytes.
    """
    entry = file.entry
    for _ in range(TRIES):
        size = entry.size
        found = os.preadv(file.fd, [into[:size]], 0) if size else 0
        status = os.fstat(file.fd)
        if found == size and is_same(entry, status):
            return entry, into[:size], True
        if status.st_size > BLOCK:
            break
        entry = walk.describe(entry.path, status, "file")
    # What its header promises, whatever became of it.
    into[found : entry.size] = ZEROS[found : entry.size]
    return entry, into[: entry.size], False


def read_piece(file: Opened, at: int) -> bytes:
    """The next bytes of a large file; zeros from where it cannot be read (its ``error``) or has come to lack
    them."""
    size = min(file.entry.size - at, BLOCK)
    piece = b""
    if file.error is None:
        try:
            piece = read_at(file.fd, at, size)
        except OSError as error:
            file.error = error
    return piece or ZEROS[:size]


def digest(file: Opened) -> str:
    """The SHA-256 of a whole file as it is now; ``OSError`` when it cannot be read."""
    sha256 = hashlib.sha256()
    at = 0
    while piece := os.pread(file.fd, BLOCK, at):
        sha256.update(piece)
        at += len(piece)
    return sha256.hexdigest()
