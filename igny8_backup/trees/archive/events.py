"""The events with which ``PackWriter`` reports what it finds and stores while it walks a tree.

``FileBatcher`` combines many files into one event, because an event for each file would take longer than
``lstat`` of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from igny8_backup.trees.index.lines import FileLines, LinesBuilder
from igny8_backup.trees.model.records import Record

BATCH_FILES = 200
"""Largest number of files in an event."""

BATCH_BYTES = 4 << 20
"""Approximate number of bytes of contents that are read before an event is emitted."""


@dataclass(frozen=True, slots=True)
class EntryArchived:
    """Event: a folder, a symlink or a hard link is in the backup."""

    record: Record


@dataclass(frozen=True, slots=True)
class FilesArchived:
    """Event: regular files are in the backup, in its own packs (tars) or in those of earlier backups."""

    files: FileLines


@dataclass(frozen=True, slots=True)
class Skipped:
    """Event: a path is not backed up, or changed while it was read. ``reason`` says why."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Event: totals so far of regular files, unchanged ones included, and of bytes of their contents."""

    files: int
    bytes: int


Event: TypeAlias = EntryArchived | FilesArchived | Skipped | Progress
"""``EntryArchived`` and ``FilesArchived`` events are in the order of the index."""

Emit: TypeAlias = Callable[[Event], None]


class FileBatcher:
    """Combines many files into one ``FilesArchived`` event, and counts files and bytes for ``Progress``.

    ``bytes`` is the size of all contents so far. The code that reads a file adds to it.
    """

    def __init__(self, emit: Emit, batch_files: int) -> None:
        self.bytes = 0
        self._files = 0
        self._reported_bytes = 0
        self._emit = emit
        self._batch_files = batch_files
        self._lines = LinesBuilder()

    def add(self, line: bytes, pack: str, path: bytes, size: int) -> None:
        """Add a file that was read: its line in the index, and the pack (tar) that holds it.

        ``size`` is the size of the file in bytes. The caller must already have added it to ``self.bytes``.
        """
        self._files += 1
        self._lines.add(line, pack, path, size)
        if len(self._lines) >= self._batch_files or self.bytes - self._reported_bytes >= BATCH_BYTES:
            self.flush()

    def add_known(self, files: FileLines) -> None:
        """Emit the buffered files as one event, then ``files`` as a second event.

        Packs of earlier backups hold the contents of ``files``.
        """
        self.flush()
        self._emit(FilesArchived(files))
        self._files += len(files.lines)
        self.bytes += files.size
        self.report_progress()

    def flush(self) -> None:
        """Emit the buffered files as one event, and empty the buffer."""
        if self._lines:
            self._emit(FilesArchived(self._lines.take()))
            self.report_progress()

    def report_progress(self) -> None:
        """Emit a ``Progress`` event with the number of files and bytes so far."""
        self._reported_bytes = self.bytes
        self._emit(Progress(self._files, self.bytes))
