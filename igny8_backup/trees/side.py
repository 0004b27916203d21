"""Writing below a folder beside the live tree: files with holes, and the folders that hold them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from igny8_backup.errors import FilesError
from igny8_backup.trees.names import escape
from igny8_backup.trees.records import Record

HOLE = 64 << 10
"""Bytes of zeros in a row, at least, that are not written but left a hole."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""How a folder is opened: relative to the one above, never through a symlink."""

_ZEROS = bytes(HOLE)


class SparseFile:
    """Writes a new file front to back and leaves runs of zeros out."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._in_hole = False

    def write(self, piece: bytes) -> None:
        """Append; ``OSError`` when the disk refuses."""
        if len(piece) < HOLE and not self._in_hole:
            self._put(memoryview(piece))
            return
        data = 0  # where in the piece the bytes begin that are still to be written
        for start in range(0, len(piece), HOLE):
            length = min(HOLE, len(piece) - start)
            # Less than a whole run is a hole only where it goes on one: blocks of the stream end anywhere.
            hole = (length == HOLE or self._in_hole) and piece.startswith(_ZEROS[:length], start)
            if hole:
                self._put(memoryview(piece)[data:start])
                self._at += length
                data = start + length
            self._in_hole = hole
        self._put(memoryview(piece)[data:])

    def end(self) -> None:
        """Give a file that ends in a hole its size."""
        if self._in_hole:
            os.ftruncate(self._fd, self._at)

    def _put(self, data: memoryview) -> None:
        while data:
            written = os.pwrite(self._fd, data, self._at)
            self._at += written
            data = data[written:]


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
        untouched="The live tree is as it was.",
        fix="Make room or mend the permissions, and restore again.",
    )
