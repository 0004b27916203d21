"""The events of a walk over a tree, as ``PackWriter`` emits them, and the batching of its files.

An event is emitted for some files at a time: one for each file would take longer than looking at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from igny8_backup.trees.index.lines import FileLines, LineBuffer
from igny8_backup.trees.model.records import Record

BATCH_FILES = 200
"""Files in a batch of files that were read, at most."""

BATCH_BYTES = 4 << 20
"""Bytes of contents, about, that are read before a batch ends."""


@dataclass(frozen=True, slots=True)
class EntryArchived:
    """A folder, a symlink or a hard link."""

    record: Record


@dataclass(frozen=True, slots=True)
class FilesArchived:
    """Regular files. ``unchanged``: they were not opened, and an earlier pack holds them."""

    files: FileLines
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that is not backed up, or that changed while it was read, and why (``skips``)."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Totals so far: regular files, unchanged ones included, and bytes of their contents."""

    files: int
    bytes: int


Event: TypeAlias = EntryArchived | FilesArchived | Skipped | Progress
"""``EntryArchived`` and ``FilesArchived`` come in the order of the index."""

Emit: TypeAlias = Callable[[Event], None]


class FileBatcher:
    """Batches the files that were read into ``FilesArchived``, and counts for ``Progress``.

    ``bytes`` is the total of contents so far: whoever reads a file adds to it.
    """

    def __init__(self, emit: Emit, batch_files: int) -> None:
        self.bytes = 0
        self._files = 0
        self._reported_bytes = 0
        self._emit = emit
        self._batch_files = batch_files
        self._lines = LineBuffer()

    def add(self, line: bytes, pack: str, path: bytes, size: int) -> None:
        """Add a file, by its line in the index and the pack that holds it; ``bytes`` includes it already."""
        self._files += 1
        self._lines.add(line, pack, path, size)
        if len(self._lines) >= self._batch_files or self.bytes - self._reported_bytes >= BATCH_BYTES:
            self.flush()

    def add_unchanged(self, files: FileLines) -> None:
        """Emit files that were not opened, after those that wait."""
        self.flush()
        self._emit(FilesArchived(files, unchanged=True))
        self._files += len(files.lines)
        self.bytes += files.size
        self.report_progress()

    def flush(self) -> None:
        """Emit the files that wait."""
        if self._lines:
            self._emit(FilesArchived(self._lines.take()))
            self.report_progress()

    def report_progress(self) -> None:
        """Emit the totals."""
        self._reported_bytes = self.bytes
        self._emit(Progress(self._files, self.bytes))
