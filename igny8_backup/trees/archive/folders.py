"""Write the tar of folders, symlinks and hard links of a tree, and tar headers of files."""

from __future__ import annotations

from typing import IO

from igny8_backup.trees.archive.reader import OpenedFile
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.tar import format as tar

_TYPES = {"dir": tar.FOLDER, "symlink": tar.SYMLINK, "hardlink": tar.HARDLINK}


class FoldersTar:
    """Writes the tar of a tree's folders, symlinks and hard links into a file while the tree is walked.

    ``add`` each record in the order of the walk, then call ``finish``. Extracted by hand after all packs (the
    tars of files), this tar completes the tree: tar sets the times and modes of folders last. The caller
    flushes and closes the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, record: Record) -> None:
        """Append a folder or link to the tar. A file is ignored: packs (other tars) hold files."""
        if record.kind == "file":
            return
        # "./" as in `tar c .`: GNU tar then knows that the other members are in the root, and sets its times
        # last.
        path = b"./" + record.path + (b"/" if record.kind == "dir" and record.path else b"")
        target = b"./" + record.target if record.kind == "hardlink" else record.target
        kind = _TYPES[record.kind]
        self._file.write(tar.header(path, kind, record.mode, record.owner, record.mtime_ns, target=target))

    def finish(self) -> None:
        """Append the end-of-archive blocks."""
        self._file.write(tar.END)


def file_header(file: OpenedFile) -> bytes:
    """Return the tar header of an open file."""
    mode, _, _, _, uid, gid, size, mtime_ns, _ = file.row
    owner = file.files.owners.owner(uid, gid)
    return tar.header(b"./" + file.path, tar.FILE, mode & 0o7777, owner, mtime_ns, size=size)


def file_header_size(file: OpenedFile) -> int:
    """Return the number of bytes of the tar header of an open file."""
    return tar.header_size(len(b"./") + len(file.path))
