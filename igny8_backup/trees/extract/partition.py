"""Divide the records of an index by pack (tar of files), so that the index is parsed and checked only once.

The records of each pack get a file of their own in a private scratch folder. Entry points: ``Partition`` and
``read_records``.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.records import Record

_BATCH_RECORDS = 2000
"""Number of records, of all packs together, that are collected in memory before they are written."""

_SIZE = 8
"""Number of bytes that hold the length of a batch of records. They are written before each batch."""

_NON_FILES = ".non-files"  # no pack has such a name


class Partition:
    """The records of an index on disk: one file for each pack (tar) with the records of its files, in order.

    ``folder`` is an empty folder that the caller made and to which nobody else can write. Each file in it has
    the name of its pack; extract workers read the files with ``read_records``. ``packs`` are the packs that
    the manifest names. Raises ``FilesError`` if a file cannot be written.
    """

    def __init__(self, folder: Path, packs: Collection[str]) -> None:
        self.folder = folder
        self._waiting: dict[str, list[tuple[object, ...]]] = {name: [] for name in (_NON_FILES, *packs)}
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
            self._waiting[name].append(tuple(record))  # marshal writes no subclass of tuple
            if count % _BATCH_RECORDS == 0:
                self._flush()
        self._flush()

    def non_files(self) -> Iterator[Record]:
        """Yield the records of folders and links. Call this after ``add_all``."""
        return read_records(self.folder / _NON_FILES)

    def _flush(self) -> None:
        for name, values in self._waiting.items():
            if values:
                batch = marshal.dumps(values)
                self._append(name, len(batch).to_bytes(_SIZE, "big") + batch)
                values.clear()

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


def read_records(path: Path, *, folder: int = -1) -> Iterator[Record]:
    """Yield the index records in a file that ``Partition`` wrote.

    If ``folder`` (a descriptor) is given, ``path`` is relative to it.
    """

    def opened(name: str, flags: int) -> int:
        return os.open(name, flags, dir_fd=folder if folder >= 0 else None)

    with open(path, "rb", opener=opened) as file:
        # Load a batch from memory: from a file, marshal reads a few bytes at a time.
        while size := int.from_bytes(file.read(_SIZE), "big"):
            for values in marshal.loads(file.read(size)):  # noqa: S302 - written by this package
                yield Record._make(values)
