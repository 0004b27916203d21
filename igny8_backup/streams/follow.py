"""A file as a stream while another process still writes it."""

from __future__ import annotations

import os
import threading

from igny8_backup.errors import FilesError
from igny8_backup.streams import Blocks

LOOK = 0.1
"""Seconds between two looks at what has come to the file."""

PIECE = 128 << 10
"""Bytes in a block, at most: little comes between two looks, and what is made of it takes less memory."""


class GrowingFile:
    """A file that another process appends to: ``blocks`` gives what is there, and waits for more.

    It ends only when ``complete`` has said that the other process ended well and all is written; after
    ``give_up`` it raises instead. Both are for another thread to call. ``look`` is the seconds between two
    looks at what has come; without, nothing is read before the end.
    """

    def __init__(self, path: str | os.PathLike[str], *, look: float | None = LOOK) -> None:
        self._path = path
        self._look = look
        self._over = threading.Event()
        self._whole = False

    def complete(self) -> None:
        """Nothing more comes: what is in the file now is all of it."""
        self._whole = True
        self._over.set()

    def give_up(self) -> None:
        """It will never be whole."""
        self._over.set()

    def blocks(self) -> Blocks:
        """The content, from the beginning. The file must be there. Raises ``FilesError``, ``OSError``."""
        with open(self._path, "rb", buffering=0) as file:
            over = False
            while not over:
                over = self._over.wait(self._look)  # asked before the last look, which finds all there is
                while not self._given_up() and (block := file.read(PIECE)):
                    yield block
        if not self._whole:
            raise FilesError(f"{os.fspath(self._path)} was not written to its end.")

    def _given_up(self) -> bool:
        # Then the rest is not waited for: of millions of files it takes seconds, after Ctrl-C.
        return self._over.is_set() and not self._whole
