"""Compare a live tree with the records of its last backup, without reading more than a sample of files.

Memory does not grow with the tree: the records are a stream, and only samples are kept.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from igny8_backup.trees.model.records import Record
from igny8_backup.trees.scan.file_types import HEAD, fits

HASHED_LIMIT = 64 << 20
"""Size, in bytes, of the largest file that is read completely."""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class LiveCheck:
    """The result of comparing a live tree with its backup; all values are numbers of files.

    * ``recorded``: files in the backup. Of these, ``gone`` do not exist any more, and ``changed`` now have
      another size, time or inode.
    * ``typed``: a sample of the changed files whose names say their type, such as ``.pdf``. These files were
      opened, and ``unfit`` of them do not begin as their type requires.
    * ``hashed``: a sample of the files that seem unchanged. These files were read completely, and ``altered``
      of them have other contents than in the backup.
    * ``old``: live files that have not changed since the backup began. Of these, ``missing`` are not in the
      backup.
    """

    recorded: int = 0
    gone: int = 0
    changed: int = 0
    typed: int = 0
    unfit: int = 0
    hashed: int = 0
    altered: int = 0
    old: int = 0
    missing: int = 0


def check_live(
    root: Path,
    records: Iterable[Record],
    old_files: Iterable[bytes],
    *,
    started_ns: int,
    sample: int,
    hashed: int,
    seed: int,
) -> LiveCheck:
    """Compare the live tree in ``root`` with ``records``, the index records of a backup.

    ``started_ns`` is when the backup started, in nanoseconds since the epoch; ``old_files`` are those that
    :func:`find_old_files` finds, read after ``records``. At most ``sample`` changed files are opened to read
    their first bytes, and at most ``hashed`` unchanged files are read completely; ``seed`` determines which.
    Live files that cannot be read are left out. Exceptions of ``records`` pass through.
    """
    changed_files: _Sample[bytes] = _Sample(sample, seed)
    same_files: _Sample[Record] = _Sample(hashed, seed + 1)
    recorded = gone = changed = same_old = 0
    top = os.fsencode(root)
    for record in records:
        if record.kind not in ("file", "hardlink"):
            continue
        recorded += 1
        try:
            found = os.lstat(os.path.join(top, record.path))
        except OSError as error:
            gone += error.errno in (errno.ENOENT, errno.ENOTDIR)
            continue
        if _same(record, found):
            same_old += found.st_ctime_ns < started_ns
            if record.sha256 and not record.racy and record.size <= HASHED_LIMIT:
                same_files.offer(record)
        else:
            changed += 1
            if fits(record.path, b"") is not None:
                changed_files.offer(record.path)
    heads = [(path, head) for path in changed_files.items if (head := _read(root, path, HEAD)) is not None]
    old = sum(1 for _ in old_files)
    return LiveCheck(
        recorded=recorded,
        gone=gone,
        changed=changed,
        typed=len(heads),
        unfit=sum(fits(path, head) is False for path, head in heads),
        hashed=len(same_files.items),
        altered=sum(_is_altered(root, record) for record in same_files.items),
        old=old,
        missing=max(0, old - same_old),
    )


class _Sample(Generic[_Item]):
    """A random sample of at most ``size`` items of a stream, each item with the same probability."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._random = random.Random(seed)  # noqa: S311 - selects a sample
        self._offered = 0
        self.items: list[_Item] = []

    def offer(self, item: _Item) -> None:
        self._offered += 1
        if len(self.items) < self._size:
            self.items.append(item)
        elif self._size and (place := self._random.randrange(self._offered)) < self._size:
            self.items[place] = item


def _same(record: Record, found: os.stat_result) -> bool:
    recorded = record.size, record.mtime_ns, record.ctime_ns, record.inode
    return recorded == (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def find_old_files(root: Path, *, started_ns: int, own: Collection[bytes]) -> Iterator[bytes]:
    """Yield the names of the live files in ``root`` that have not changed since ``started_ns``.

    The change time (ctime) decides, because nobody can set it back. ``own`` are the names of folders in the
    root that hold data of restores and are in no backup.
    """
    top = os.fsencode(root)
    with suppress(FileNotFoundError, NotADirectoryError):  # the root itself
        for folder, names, files, descriptor in os.fwalk(top):
            if folder == top:
                names[:] = [name for name in names if name not in own]
            for name in files:
                with suppress(OSError):
                    found = os.lstat(name, dir_fd=descriptor)
                    if stat.S_ISREG(found.st_mode) and found.st_ctime_ns < started_ns:
                        yield name


def _is_altered(root: Path, record: Record) -> bool:
    """Return whether a file has other contents than its record, although its size and times are the same."""
    content = _read(root, record.path, HASHED_LIMIT + 1)
    if content is None or hashlib.sha256(content).hexdigest() == record.sha256:
        return False
    try:
        return _same(record, os.lstat(os.path.join(os.fsencode(root), record.path)))
    except OSError:
        return False


def _read(root: Path, path: bytes, limit: int) -> bytes | None:
    """Return the first ``limit`` bytes of a file below ``root``; ``None`` if it cannot be read.

    No symlink below the root is followed: somebody may replace a folder while the tree is checked.
    """
    *folders, name = path.split(b"/")
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                below = os.open(folder, _FLAGS | os.O_DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            file = os.open(name, _FLAGS, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        with open(file, "rb") as opened:
            return opened.read(limit) if stat.S_ISREG(os.fstat(file).st_mode) else None
    except OSError:
        return None
