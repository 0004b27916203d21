"""Partition the records of an index by pack, in files in private scratch: each is parsed and checked once."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, NoReturn

from igny8_backup.errors import FilesError
from igny8_backup.streams import Blocks
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.worker_protocol import start_worker

_BATCH_RECORDS = 2000
"""Records of all packs together that are written at a time. A reader waits for its first record as long as so
many lines of an index take to parse: a fiftieth of a second."""

_SIZE = 8
"""Bytes of the length before each batch of records; a length of 0 ends them."""

_NON_FILES = ".non-files"  # no pack has such a name


class Partition:
    """Takes the records of an index once (``add_all``, or ``partition_index`` in a worker process), and gives
    those of one pack, or those of folders and links, in their order.

    ``folder`` is an empty, private folder that the caller made: only this package may write to it. The
    records of a pack are in a file of its name, which another process may read while records are added
    (``read_records``). ``packs`` are the packs that the manifest names. Raises ``FilesError`` where the disk
    refuses.
    """

    def __init__(self, folder: Path, packs: Collection[str]) -> None:
        self.folder = folder
        self.packs = packs
        self._waiting: dict[str, list[tuple[object, ...]]] = {name: [] for name in (_NON_FILES, *packs)}
        for name in self._waiting:
            self._append(name, b"")  # a reader may open the file from now on

    def add_all(self, records: Iterable[Record]) -> None:
        """Add all records of the index. After an error, readers wait for more.

        Raises what ``records`` raise, ``IntegrityError`` for a file in an unknown pack, ``FilesError``.
        """
        for count, record in enumerate(records, start=1):
            name = record.pack if record.kind == "file" else _NON_FILES
            if name not in self._waiting:
                raise damaged(f"The index names the pack {name}, which the manifest does not name.")
            self._waiting[name].append(tuple(record))  # marshal writes no subclass of tuple
            if count % _BATCH_RECORDS == 0:
                self._flush()
        self._flush()
        for name in self._waiting:
            self._append(name, bytes(_SIZE))

    def non_files(self) -> Iterator[Record]:
        """The records of folders and links, once all records were added."""
        return read_records(self.folder / _NON_FILES, wait=_never)

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
                f"The index of the tree cannot be kept in {self.folder.parent}: {error.strerror}.",
                unchanged="Nothing live was changed.",
                hint="Free some space there, or set IGNY8_BACKUP['SCRATCH_DIR'] to a larger disk.",
            ) from None


def partition_index(partition: Partition, blocks: Blocks) -> None:
    """Read and check the index in ``blocks``, and add its records, in a worker (``partition_process``).

    The work is Python for every record: a thread would keep the GIL from the threads that decode packs.
    Raises what ``blocks``, ``index.read`` and ``Partition`` raise; ``ToolError`` when the worker fails.
    """
    with closing(blocks), start_worker("igny8_backup.trees.extract.partition_process") as worker:
        worker.begin({"folder": str(partition.folder), "packs": list(partition.packs)})
        worker.send_stream(blocks)
        worker.result()


def read_records(path: Path, *, wait: Callable[[], object]) -> Iterator[Record]:
    """The records in a file of a ``Partition``. Where they are not written yet, ``wait`` is called until they
    are; it takes a moment, and raises where they will never be written."""
    with open(path, "rb", buffering=0) as file:
        # Load a batch from memory: from a file, marshal reads a few bytes at a time.
        while size := int.from_bytes(_read(file, _SIZE, wait), "big"):
            for values in marshal.loads(_read(file, size, wait)):  # noqa: S302 - written by this package
                yield Record._make(values)


def _read(file: IO[bytes], size: int, wait: Callable[[], object]) -> bytes:
    """Read ``size`` bytes: the end of the file is only how far it has been written."""
    data = file.read(size)
    while len(data) < size:
        wait()
        data += file.read(size - len(data))
    return data


def _never() -> NoReturn:
    raise RuntimeError("The records of folders and links were asked for before all records were added.")
