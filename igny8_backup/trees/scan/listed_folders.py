"""Open the files of a tree that another process has walked, or that were walked earlier.

The files are opened as safely as by the walk itself: never through a symlink.
"""

from __future__ import annotations

import errno
import os

from igny8_backup.trees.model.entries import Files, Identities
from igny8_backup.trees.scan.scan import OPEN_FILE, OPEN_FOLDER


class ListedFolders:
    """Opens folders that a walk has listed. The folder opened last, and those above it, stay open.

    Each folder is opened relative to the one above, never through a symlink, and only if it is the folder
    that the walk listed. ``root`` is a descriptor of the root of the tree, which ``close`` closes as well.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self._open: list[tuple[bytes, Identities, int]] = [(b"", (), root)]

    def open_folder(self, prefix: bytes, folders: Identities) -> int:
        """Return a descriptor of the folder whose path is ``prefix``, with a slash at the end.

        The descriptor is valid until the next call. ``folders`` are the identities of the folders in the path
        when they were listed. Raises ``OSError`` if a folder is gone. The ``errno`` is ELOOP if another
        folder or a symlink has taken its place.
        """
        opened = self._open
        if opened[-1][:2] == (prefix, folders):
            return opened[-1][2]
        while not (prefix.startswith(opened[-1][0]) and folders[: len(opened[-1][1])] == opened[-1][1]):
            os.close(opened.pop()[2])
        above, known, fd = opened[-1]
        for name in prefix[len(above) :].split(b"/")[:-1]:
            fd = os.open(name, OPEN_FOLDER, dir_fd=fd)
            above += name + b"/"
            status = os.fstat(fd)
            known = (*known, (status.st_dev, status.st_ino))
            if folders[: len(known)] != known:
                os.close(fd)
                raise OSError(errno.ELOOP, "another folder took its place")  # reported like a symlink
            opened.append((above, known, fd))
        return fd

    def open_file(self, files: Files, number: int) -> int:
        """Open file ``number`` of ``files`` and return the descriptor, which the caller closes.

        Call ``fstat`` on the descriptor: another file might have replaced the one that was listed. Raises the
        errors of ``open_folder``, also for the file.
        """
        fd = self.open_folder(files.prefix, files.folders)
        return os.open(files.names[number], OPEN_FILE, dir_fd=fd)

    def close(self) -> None:
        """Close all descriptors."""
        while self._open:
            os.close(self._open.pop()[2])
