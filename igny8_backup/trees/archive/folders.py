"""The tar of folders, symlinks and hard links that every backup of a tree stores, and headers of members."""

from __future__ import annotations

from typing import IO

from igny8_backup.trees.archive.reader import OpenedFile
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.tar import format as tar


class FoldersTar:
    """Writes the folders' tar into a file while the tree is walked.

    ``add`` each record, sorted; then ``finish``. Extracted by hand after all packs, this tar completes the
    tree: it sets times and modes of folders last. The caller flushes and closes the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, record: Record) -> None:
        """Append a folder or link; a file is ignored, because a pack holds it."""
        if record.kind == "dir":
            self._file.write(header(record, tar.FOLDER, slash=b"/" if record.path else b""))
        elif record.kind == "symlink":
            self._file.write(header(record, tar.SYMLINK, target=record.target))
        elif record.kind == "hardlink":
            self._file.write(header(record, tar.HARDLINK, target=b"./" + record.target))

    def finish(self) -> None:
        """Append the end-of-archive blocks."""
        self._file.write(tar.END)


def header(of: Record, kind: bytes, *, slash: bytes = b"", target: bytes = b"") -> bytes:
    """The tar header of a folder or link; its path is written as ``./path``."""
    # "./" as in `tar c .`: GNU tar then sees that the root holds the other members, and sets its times last.
    return tar.header(b"./" + of.path + slash, kind, of.mode, of.owner, of.mtime_ns, target=target)


def file_header(file: OpenedFile) -> bytes:
    """The tar header of an open file."""
    mode, _, _, _, uid, gid, size, mtime_ns, _ = file.row
    owner = file.files.owners.owner(uid, gid)
    return tar.header(b"./" + file.path, tar.FILE, mode & 0o7777, owner, mtime_ns, size=size)


def file_header_size(file: OpenedFile) -> int:
    """Bytes of the tar header of an open file."""
    return tar.header_size(len(b"./") + len(file.path))
