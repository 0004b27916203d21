"""File contents as packs: ordinary tars of bounded size, and everything else as records.

One walk feeds both. A pack opens without this software: extract every pack of a tree in any order,
then the tar of ``folders_tar``, which brings empty folders, symlinks, hard links and the folders'
own modes and times (``tar x --numeric-owner -p``).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.trees import tar
from igny8_backup.trees.records import Record, record_of
from igny8_backup.trees.scan import CHANGED, REPLACED, Entry, OnSkip, Scan, why
from igny8_backup.trees.sparse import ZEROS, read_at
from igny8_backup.trees.xattrs import Xattrs, read_xattrs

PACK_LIMIT = 512 << 20
"""Bytes of a pack before compression, unless one file alone is larger."""

OnProgress = Callable[[int, int], None]
"""Told after each file, and within large ones: files and bytes of contents so far, in all."""


@dataclass(frozen=True, slots=True)
class _Opened:
    entry: Entry
    fd: int
    xattrs: Xattrs


class PackWriter:
    """The tree below ``root`` as packs and records, in one walk.

    ``name`` gives the name of pack 1, 2, and so on. ``on_record`` gets the record of everything
    that is backed up, in the order of the index, while the packs are consumed; ``on_skip`` what is
    not, and what changed while it was read (stored as it was read, at the size it had when opened).
    Memory: one listing of names per level of folders, a few blocks, and the names of hard-linked
    files.
    """

    def __init__(
        self,
        root: Path,
        *,
        name: Callable[[int], str],
        on_record: Callable[[Record], None],
        on_skip: OnSkip,
        on_progress: OnProgress | None = None,
        limit: int = PACK_LIMIT,
    ) -> None:
        self._root = root
        self._name = name
        self._on_record = on_record
        self._on_skip = on_skip
        self._on_progress = on_progress
        self._limit = limit
        self._files = 0
        self._bytes = 0
        self._links: dict[tuple[int, int], bytes] = {}  # device, inode -> the first path in the order
        self._waiting: _Opened | None = None
        self._whole = True

    def packs(self) -> Generator[tuple[str, Blocks], None, None]:
        """Each pack's name and its tar; a pack must be consumed to its end before the next is asked for.

        None at all where there are no files. Close it (or exhaust it) to give back the descriptors.
        ``FilesError`` when the root cannot be read.
        """
        with closing(self._opened()) as files:
            try:
                self._waiting = next(files, None)
                number = 0
                while self._waiting is not None:
                    number += 1
                    name = self._name(number)
                    self._whole = False
                    yield name, self._pack(name, files)
                    if not self._whole:
                        raise RuntimeError(f"the pack {name} was not consumed")
            finally:
                if self._waiting is not None:
                    os.close(self._waiting.fd)
                    self._waiting = None

    def _opened(self) -> Generator[_Opened, None, None]:
        """The files to be stored, opened; all else becomes a record on the way."""
        with Scan(self._root, on_skip=self._on_skip) as walk:
            for entry in walk:
                if entry.kind == "file":
                    first = self._links.get((entry.device, entry.inode)) if entry.nlink > 1 else None
                    if first is not None:
                        self._on_record(record_of(entry, "hardlink", target=first))
                    elif (file := self._open(walk, entry)) is not None:
                        yield file
                elif entry.kind == "dir":
                    fd = walk.folder_fd(entry)
                    xattrs = () if fd is None else self._xattrs(entry.path, fd)
                    self._on_record(record_of(entry, "dir", xattrs=xattrs))
                else:
                    self._on_record(record_of(entry, "symlink", target=entry.target))

    def _open(self, walk: Scan, entry: Entry) -> _Opened | None:
        try:
            fd = walk.open_file(entry)
        except OSError as error:
            self._on_skip(entry.path, why(error))
            return None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            self._on_skip(entry.path, REPLACED)
            return None
        seen = (entry.inode, entry.device, entry.ctime_ns)
        if seen != (status.st_ino, status.st_dev, status.st_ctime_ns):
            # Changed, or another file put in its place, since lstat(2). The record must be of the instant of
            # this fstat(2): the same inode and ctime will tell a later run that all the rest is the same.
            entry = walk.describe(entry.path, status, "file")
        return _Opened(entry, fd, self._xattrs(entry.path, fd))

    def _pack(self, name: str, files: Generator[_Opened, None, None]) -> Blocks:
        parts: list[bytes] = []
        held = used = 0
        while (file := self._waiting) is not None:
            head = _header(file.entry, tar.FILE, size=file.entry.size)
            fill = tar.padding(file.entry.size)
            need = len(head) + file.entry.size + fill
            if used and used + need > self._limit:
                break
            used += need
            self._waiting = None  # its descriptor is now _contents' to close
            parts.append(head)
            held += len(head)
            with closing(self._contents(file, name)) as pieces:
                for piece in pieces:
                    parts.append(piece)
                    held += len(piece)
                    if held >= BLOCK:
                        yield b"".join(parts)
                        parts.clear()
                        held = 0
            parts.append(ZEROS[:fill])
            held += fill
            if held >= BLOCK:  # empty files are all header
                yield b"".join(parts)
                parts.clear()
                held = 0
            self._waiting = next(files, None)
        self._whole = True
        parts.append(tar.END)
        yield b"".join(parts)

    def _contents(self, file: _Opened, pack: str) -> Generator[bytes, None, None]:
        """Exactly as many bytes as the header has promised, whatever becomes of the file; then its record."""
        entry = file.entry
        digest = hashlib.sha256()
        left = entry.size
        failure: OSError | None = None
        try:
            while left:
                piece = b""
                if failure is None:
                    try:
                        piece = read_at(file.fd, entry.size - left, min(left, BLOCK))
                    except OSError as error:
                        failure = error
                piece = piece or ZEROS[: min(left, BLOCK)]
                left -= len(piece)
                digest.update(piece)
                self._bytes += len(piece)
                yield piece
                if left:
                    self._tell()
            after = os.fstat(file.fd)
        finally:
            os.close(file.fd)
        if failure is not None:
            self._on_skip(entry.path, why(failure))
            return
        before = (entry.size, entry.mtime_ns, entry.ctime_ns)
        if before != (after.st_size, after.st_mtime_ns, after.st_ctime_ns):
            self._on_skip(entry.path, CHANGED)
        if entry.nlink > 1:
            self._links[entry.device, entry.inode] = entry.path
        self._files += 1
        self._on_record(record_of(entry, "file", xattrs=file.xattrs, sha256=digest.hexdigest(), pack=pack))
        self._tell()

    def _xattrs(self, path: bytes, fd: int) -> Xattrs:
        try:
            return read_xattrs(fd)
        except OSError as error:
            self._on_skip(path, f"its extended attributes {why(error).removeprefix('cannot ')}")
            return ()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._files, self._bytes)


def folders_tar(records: Iterable[Record]) -> Blocks:
    """A tar of the folders (the root as ``./``), symlinks and hard links among these sorted records.

    Extracted by hand after all packs, it completes the tree: times and modes of folders are set
    last.
    """
    parts: list[bytes] = []
    held = 0
    for record in records:
        if record.kind == "dir":
            head = _header(record, tar.FOLDER, slash=b"/" if record.path else b"")
        elif record.kind == "symlink":
            head = _header(record, tar.SYMLINK, target=record.target)
        elif record.kind == "hardlink":
            head = _header(record, tar.HARDLINK, target=b"./" + record.target)
        else:
            continue
        parts.append(head)
        held += len(head)
        if held >= BLOCK:
            yield b"".join(parts)
            parts.clear()
            held = 0
    parts.append(tar.END)
    yield b"".join(parts)


def _header(
    of: Entry | Record, kind: bytes, *, size: int = 0, slash: bytes = b"", target: bytes = b""
) -> bytes:
    # "./" as in `tar c .`: GNU tar then sees that the root holds the others, and sets its times last.
    return tar.header(
        b"./" + of.path + slash,
        kind,
        mode=of.mode,
        uid=of.uid,
        gid=of.gid,
        mtime_ns=of.mtime_ns,
        user=of.user,
        group=of.group,
        size=size,
        target=target,
    )
