"""Files with holes: read without reading those, written with them."""

from __future__ import annotations

import errno
import os

from igny8_backup.streams import BLOCK

HOLE = 64 << 10
"""Bytes of zeros in a row, at least, that are not written but left a hole."""

ZEROS = bytes(BLOCK)
_RUN = bytes(HOLE)


def read_at(fd: int, at: int, size: int) -> bytes:
    """Up to ``size`` (at most ``BLOCK``) bytes from this offset; ``b""`` at the end of the file, or zeros.

    A whole block that lies in a hole never goes through the page cache, from which it would drive better
    things.
    """
    if size == BLOCK:
        try:
            in_hole = os.lseek(fd, at, os.SEEK_DATA) >= at + size
        except OSError as error:
            in_hole = error.errno == errno.ENXIO  # no data from here on; another filesystem: no answer
        if in_hole:
            return ZEROS
    return os.pread(fd, size, at)


class SparseFile:
    """Writes a new file front to back and leaves runs of zeros out."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._in_hole = False

    def write(self, piece: memoryview) -> None:
        """Append; ``OSError`` when the disk refuses."""
        if len(piece) < HOLE and not self._in_hole:
            self._put(piece)
            return
        data = 0  # where in the piece the bytes begin that are still to be written
        for start in range(0, len(piece), HOLE):
            run = bytes(piece[start : start + HOLE])
            # Less than a whole run is a hole only where it goes on one: blocks of the stream end anywhere.
            hole = (len(run) == HOLE or self._in_hole) and _RUN.startswith(run)
            if hole:
                self._put(piece[data:start])
                self._at += len(run)
                data = start + len(run)
            self._in_hole = hole
        self._put(piece[data:])

    def end(self) -> None:
        """Give a file that ends in a hole its size."""
        if self._in_hole:
            os.ftruncate(self._fd, self._at)

    def _put(self, data: memoryview) -> None:
        while data:
            written = os.pwrite(self._fd, data, self._at)
            self._at += written
            data = data[written:]
