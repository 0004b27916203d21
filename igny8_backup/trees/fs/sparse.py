"""Read and write sparse files: holes are neither read from the disk nor written to it."""

from __future__ import annotations

import errno
import os

from igny8_backup.streams import BLOCK

HOLE = 64 << 10
"""Smallest number of consecutive zero bytes that become a hole instead of being written."""

ZEROS = bytes(BLOCK)
_RUN = bytes(HOLE)


def bytes_on_disk(status: os.stat_result) -> int:
    """Estimate how many bytes a file will occupy on the disk after a restore, from its present status.

    Holes do not count, because ``SparseFile`` makes them again. Of the space that is reserved beyond the end
    of the file, at most ``HOLE`` bytes count. For a file with several names (hard links), the result is the
    share of one name.
    """
    size, allocated = status.st_size, status.st_blocks * 512
    if size - allocated < HOLE:
        allocated = max(size, min(allocated, size + HOLE))
    return allocated // max(status.st_nlink, 1)


def read_at(fd: int, at: int, size: int) -> bytes:
    """Return up to ``size`` bytes (at most ``BLOCK``) from offset ``at`` of an open file.

    Past the end of the file the result is ``b""`` or zeros. A block that lies in a hole is returned without
    reading it, because reading would displace other data in the page cache.
    """
    if size == BLOCK:
        try:
            in_hole = os.lseek(fd, at, os.SEEK_DATA) >= at + size
        except OSError as error:
            in_hole = error.errno == errno.ENXIO  # no data follows; other errors: the filesystem cannot tell
        if in_hole:
            return ZEROS
    return os.pread(fd, size, at)


class SparseFile:
    """Writes a new file from start to end and leaves holes in place of long runs of zeros."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._in_hole = False

    def write(self, piece: memoryview) -> None:
        """Append ``piece`` to the file. Raises ``OSError``."""
        if len(piece) < HOLE and not self._in_hole:
            self._put(piece)
            return
        data = 0  # offset in the piece of the bytes that are not written yet
        for start in range(0, len(piece), HOLE):
            run = bytes(piece[start : start + HOLE])
            # A short run of zeros extends a hole, because blocks of the stream end anywhere, but begins none.
            hole = (len(run) == HOLE or self._in_hole) and _RUN.startswith(run)
            if hole:
                self._put(piece[data:start])
                self._at += len(run)
                data = start + len(run)
            self._in_hole = hole
        self._put(piece[data:])

    def end(self) -> None:
        """Complete the file: set its size, which matters if it ends in a hole."""
        if self._in_hole:
            os.ftruncate(self._fd, self._at)

    def _put(self, data: memoryview) -> None:
        while data:
            written = os.pwrite(self._fd, data, self._at)
            self._at += written
            data = data[written:]
