"""What is told of files while they are read: their lines in the index, some at a time, and how far it is."""

from __future__ import annotations

from collections.abc import Callable

from igny8_backup.trees.index.lines import FileLines, LineBuffer

OnFiles = Callable[[FileLines], None]

OnProgress = Callable[[int, int], None]
"""Told after some files, and within large ones: files and bytes of contents so far, in all."""

TOGETHER = 200
"""So many files that were read are told together, at most."""

BYTES = 4 << 20
"""No more bytes than about these pass before something is told."""


class ProgressBatcher:
    """``on_files`` hears of files in the order in which they are told here; ``bytes`` of contents and their
    number are counted for ``on_progress``."""

    def __init__(self, on_files: OnFiles, on_progress: OnProgress | None, together: int) -> None:
        self.bytes = 0
        self._files = 0
        self._told = 0  # bytes, when something was told last
        self._on_files = on_files
        self._on_progress = on_progress
        self._together = together
        self._gathered = LineBuffer()

    def file(self, line: bytes, pack: str, path: bytes, size: int) -> None:
        """A file of this line in this pack, whose bytes are counted already; it may be told later."""
        self._files += 1
        self._gathered.add(line, pack, path, size)
        if len(self._gathered) >= self._together or self.bytes - self._told >= BYTES:
            self.now()

    def unchanged(self, files: FileLines) -> None:
        """Files that were not opened, and which the caller tells of."""
        self._files += len(files.lines)
        self.bytes += files.size
        self.progress()

    def now(self) -> None:
        """Tell of all that still waits to be told."""
        if self._gathered:
            self._on_files(self._gathered.take())
            self.progress()

    def progress(self) -> None:
        """Tell how far it is."""
        self._told = self.bytes
        if self._on_progress is not None:
            self._on_progress(self._files, self.bytes)
