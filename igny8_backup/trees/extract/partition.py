"""Divide the records of an index by pack (tar of files), so that the index is parsed and checked only once.

The records of each pack are written to a file in a private scratch folder. Records of files that have another
path in the pack (they were renamed or copied) are written to a second file. Entry points: ``Partition`` and
``read_records``.
"""

from __future__ import annotations

import heapq
import itertools
import marshal
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from igny8_backup.errors import FilesError
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.names import order
from igny8_backup.trees.model.records import Record

_BATCH_RECORDS = 2000
"""Number of records, of all packs together, that are collected in memory before they are written."""

_SIZE = 8
"""Number of bytes that hold the length of a batch of records. They are written before each batch."""

_NON_FILES = ".non-files"  # no pack has such a name
_RENAMED = ".renamed"
"""What the name of the second file of a pack ends with. It consists of runs: sorted batches of
``_FRAME_RECORDS`` records, and a length of 0. A reader holds one batch of each run in memory."""

_FRAME_RECORDS = 5
"""Number of records in a batch of a run. A reader of ten million renamed files has 25,000 in memory."""


class Partition:
    """The records of an index on disk, those of each pack (tar) by themselves.

    ``folder`` is an empty folder that the caller made and to which nobody else can write. A file in it has
    the name of its pack; extract workers read the records with ``read_records``. ``packs`` are the packs that
    the manifest names. Raises ``FilesError`` if a file cannot be written.
    """

    def __init__(self, folder: Path, packs: Collection[str]) -> None:
        self.folder = folder
        self._waiting: dict[str, list[Record]] = {name: [] for name in (_NON_FILES, *packs)}
        for name in self._waiting:
            self._append(name, b"")  # a pack without records has a file as well

    def add_all(self, records: Iterable[Record]) -> None:
        """Add all records of the index. Call this once.

        Raises ``IntegrityError`` if a record names a pack that is not in ``packs``, and ``FilesError`` if a
        file cannot be written. Exceptions of ``records`` pass through.
        """
        for count, record in enumerate(records, start=1):
            name = record.pack if record.kind == "file" else _NON_FILES
            if name not in self._waiting:
                raise damaged(f"The index names the pack {name}, which the manifest does not name.")
            self._waiting[name].append(record)
            if count % _BATCH_RECORDS == 0:
                self._flush()
        self._flush()

    def non_files(self) -> Iterator[Record]:
        """Yield the records of folders and links. Call this after ``add_all``."""
        return read_records(self.folder / _NON_FILES)

    def _flush(self) -> None:
        for name, records in self._waiting.items():
            if in_place := [record for record in records if not record.member]:
                self._append(name, _frame(in_place))
            if renamed := [record for record in records if record.member]:
                self._append(name + _RENAMED, _run(renamed))
            records.clear()

    def _append(self, name: str, data: bytes) -> None:
        try:
            with open(self.folder / name, "ab") as file:
                file.write(data)
        except OSError as error:
            raise FilesError(
                f"The index of the tree cannot be stored in {self.folder.parent}: {error.strerror}.",
                unchanged="Nothing live was changed.",
                hint="Free some space there, or set IGNY8_BACKUP['SCRATCH_DIR'] to a folder on a larger"
                " disk.",
            ) from None


def files_of(pack: str) -> tuple[str, str]:
    """Return the names of the files that hold the records of a pack (tar). The second one may be missing."""
    return pack, pack + _RENAMED


def read_records(path: Path, *, folder: int = -1) -> Iterator[Record]:
    """Yield the index records of a pack (tar) that ``Partition`` wrote, in the order of their paths in it.

    ``path`` is the file that has the name of the pack, relative to ``folder`` (a descriptor) if that is
    given.
    """
    dir_fd = folder if folder >= 0 else None
    in_place, renamed = files_of(str(path))
    with ExitStack() as stack:

        def opened(name: str) -> int:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
            stack.callback(os.close, fd)
            return fd

        records = _records(opened(in_place), 0)
        try:
            runs = opened(renamed)
        except FileNotFoundError:  # no file of the pack was renamed
            yield from records
        else:
            yield from merge_renamed(records, runs)


def sort_renamed(records: Iterable[Record], file: IO[bytes]) -> None:
    """Write records into an empty file, for ``merge_renamed``. Raises ``OSError``."""
    remaining = iter(records)
    while run := list(itertools.islice(remaining, _BATCH_RECORDS)):
        file.write(_run(run))
    file.flush()


def merge_renamed(in_place: Iterator[Record], runs: int) -> Iterator[Record]:
    """Yield ``in_place``, and the records in a file of ``sort_renamed``, in the order of paths in the pack.

    ``runs`` is a descriptor of the file. ``in_place`` are records of the same pack without ``member``.
    """
    return heapq.merge(in_place, *(_records(runs, start) for start in _starts(runs)), key=_place)


def _place(record: Record) -> bytes:
    return order(record.stored_path)


def _frame(records: Sequence[Record]) -> bytes:
    batch = marshal.dumps([tuple(record) for record in records])  # marshal writes no subclass of tuple
    return len(batch).to_bytes(_SIZE, "big") + batch


def _run(records: list[Record]) -> bytes:
    records.sort(key=_place)
    frames = [
        _frame(records[start : start + _FRAME_RECORDS]) for start in range(0, len(records), _FRAME_RECORDS)
    ]
    return b"".join(frames) + bytes(_SIZE)


def _records(fd: int, at: int) -> Iterator[Record]:
    """Yield the records of the run of batches that begins at offset ``at``.

    It ends with a length of 0, or with the file.
    """
    while size := int.from_bytes(os.pread(fd, _SIZE, at), "big"):
        # Load a batch from memory: from a file, marshal reads a few bytes at a time.
        for values in marshal.loads(os.pread(fd, size, at + _SIZE)):  # noqa: S302 - written by this package
            yield Record._make(values)
        at += _SIZE + size


def _starts(fd: int) -> list[int]:
    """Return where the runs of a file begin."""
    found, at, start = [], 0, 0
    while head := os.pread(fd, _SIZE, at):
        size = int.from_bytes(head, "big")
        at += _SIZE + size
        if not size:
            found.append(start)
            start = at
    return found
