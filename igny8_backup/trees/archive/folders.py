"""The tar of all that is no file: folders, symlinks and hard links, in every backup of a tree."""

from __future__ import annotations

from typing import IO

from igny8_backup.trees.archive.reader import Opened
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.tar import format as tar


class FoldersTar:
    """Writes that tar into a file while the tree is walked.

    ``add`` each record, sorted; then ``finish``. Extracted by hand after all packs it completes the tree:
    times and modes of folders are set last. The file is the caller's to flush and close.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, record: Record) -> None:
        """Append it, unless it is a file, which a pack holds."""
        if record.kind == "dir":
            self._file.write(header(record, tar.FOLDER, slash=b"/" if record.path else b""))
        elif record.kind == "symlink":
            self._file.write(header(record, tar.SYMLINK, target=record.target))
        elif record.kind == "hardlink":
            self._file.write(header(record, tar.HARDLINK, target=b"./" + record.target))

    def finish(self) -> None:
        """Append the end of the tar."""
        self._file.write(tar.END)


def header(of: Record, kind: bytes, *, slash: bytes = b"", target: bytes = b"") -> bytes:
    """The tar header of a folder or link, its path as ``./path``."""
    # "./" as in `tar c .`: GNU tar then sees that the root holds the others, and sets its times last.
    return tar.header(b"./" + of.path + slash, kind, of.mode, of.owner, of.mtime_ns, target=target)


def file_header(file: Opened) -> bytes:
    """The tar header of a file that is read."""
    mode, _, _, _, uid, gid, size, mtime_ns, _ = file.row
    owner = file.files.owners.owner(uid, gid)
    return tar.header(b"./" + file.path, tar.FILE, mode & 0o7777, owner, mtime_ns, size=size)


def file_header_size(file: Opened) -> int:
    """Bytes of the header of a file."""
    return tar.header_size(len(b"./") + len(file.path))
