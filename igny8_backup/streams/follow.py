"""Stream a file while another process still writes it."""

from __future__ import annotations

import os
import threading

from igny8_backup.errors import FilesError
from igny8_backup.streams import Blocks

LOOK = 0.1
"""Default interval of polling, in seconds."""

PIECE = 128 << 10
"""Largest number of bytes in a block. Little is written between two polls, and small blocks save memory."""


class GrowingFile:
    """A file that another process appends to. ``blocks`` yields its content and waits for more.

    The stream ends after ``complete`` was called, which means that the other process has succeeded. After
    ``give_up`` it raises. Another thread calls both. ``look`` is the interval of polling in seconds; with
    ``None`` nothing is read before the end.
    """

    def __init__(self, path: str | os.PathLike[str], *, look: float | None = LOOK) -> None:
        self._path = path
        self._look = look
        self._over = threading.Event()
        self._complete = False

    def complete(self) -> None:
        """Report that the file is complete."""
        self._complete = True
        self._over.set()

    def give_up(self) -> None:
        """Report that the file will never be complete."""
        self._over.set()

    def blocks(self) -> Blocks:
        """Yield the content from the beginning. The file must exist. Raises ``FilesError``, ``OSError``."""
        with open(self._path, "rb", buffering=0) as file:
            over = False
            while not over:
                over = self._over.wait(self._look)  # before the last read, which finds everything
                while not self._given_up() and (block := file.read(PIECE)):
                    yield block
        if not self._complete:
            raise FilesError(
                f"{os.fspath(self._path)} was not written to its end.",
                hint="The process that writes it has failed: see its error.",
            )

    def _given_up(self) -> bool:
        # Then the rest is not read: for millions of files it would take seconds after Ctrl-C.
        return self._over.is_set() and not self._complete
