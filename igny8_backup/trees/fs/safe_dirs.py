"""Folders below a side folder: made, entered and finished without ever following a symlink."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from igny8_backup.errors import FilesError
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""How a folder is opened: relative to the one above, never through a symlink."""


class Folders:
    """The open folders from the side down to where writing goes on, each made when first needed."""

    def __init__(self, side: int, finish: Callable[[int, Record], None]) -> None:
        self._side = side
        self._finish = finish
        self._levels: list[tuple[bytes, int, Record | None]] = []  # path with its slash, descriptor

    def reach(self, path: bytes) -> tuple[int, bytes]:
        """The open folder that holds ``path``, and its name in there. Folders that do not are left.

        ``FilesError`` when one cannot be made or finished.
        """
        end = path.rfind(b"/") + 1
        if self._levels and path[:end] == self._levels[-1][0]:
            return self._levels[-1][1], path[end:]
        while self._levels and not path.startswith(self._levels[-1][0]):
            self._leave()
        prefix, fd, _ = self._levels[-1] if self._levels else (b"", self._side, None)
        *missing, name = path[len(prefix) :].split(b"/")
        for part in missing:
            prefix += part + b"/"
            fd = self._push(fd, part, prefix, None)
        return fd, name

    def enter(self, path: bytes, record: Record) -> None:
        """Make this folder if need be; ``record`` is applied to it when it is left."""
        fd, name = self.reach(path)
        self._push(fd, name, path + b"/", record)

    def leave_all(self) -> None:
        """Finish and close them all; ``FilesError`` as with the others."""
        while self._levels:
            self._leave()

    def close(self) -> None:
        """Close without finishing anything."""
        while self._levels:
            os.close(self._levels.pop()[1])

    def _push(self, folder: int, name: bytes, path: bytes, record: Record | None) -> int:
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
            fd = os.open(name, FOLDER, dir_fd=folder)
        except OSError as error:
            raise refused(path, error) from error
        self._levels.append((path, fd, record))
        return fd

    def _leave(self) -> None:
        path, fd, record = self._levels.pop()
        try:
            if record is not None:
                self._finish(fd, record)
        except OSError as error:
            raise refused(path, error) from error
        finally:
            os.close(fd)


def refused(path: bytes, error: OSError) -> FilesError:
    """The disk said no while ``path`` was written."""
    return FilesError(
        f"{escape(path)!r} cannot be written beside the live tree: {error.strerror}.",
        unchanged="The live tree is as it was.",
        hint="Make room or mend the permissions, and restore again.",
    )
