"""The records of an index sorted out by pack, in private scratch: each is parsed and checked once only."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, NoReturn

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.streams import Blocks
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.worker_protocol import finish, give_job, own_process, send, sender

_GATHER = 2000
"""Records of all packs together that wait in memory: whoever waits for the first of them, waits for the time
that so many lines of an index take, a fiftieth of a second."""

_SIZE = 8
"""Bytes of the length before each batch of records; a length of 0 ends them."""

_OTHERS = "others"


class Partition:
    """Takes the records once (``take``, or ``partition_index`` in another process), and gives those of a pack, or
    those of no file, in their order.

    ``folder`` is an empty, private folder of the caller's; only this software reads what is put there: the
    records of a pack in a file of its name, from which another process may read while they are taken
    (``read_spooled``). ``packs`` are those that there are. Raises ``FilesError`` where the disk refuses.
    """

    def __init__(self, folder: Path, packs: Collection[str]) -> None:
        self.folder = folder
        self.packs = packs
        self._waiting: dict[str, list[tuple[object, ...]]] = {name: [] for name in (_OTHERS, *packs)}
        for name in self._waiting:
            self._append(name, b"")  # now that there is a file, a reader may open it

    def take(self, records: Iterable[Record]) -> None:
        """All the records there are: what raises meanwhile leaves the readers waiting for more.

        Raises what they raise, ``IntegrityError`` for a file in a pack that there is not, ``FilesError``.
        """
        for count, record in enumerate(records, start=1):
            name = record.pack if record.kind == "file" else _OTHERS
            if name not in self._waiting:
                raise IntegrityError(f"The index names the pack {name}, and the manifest does not.")
            self._waiting[name].append(tuple(record))  # marshal takes no subclass
            if count % _GATHER == 0:
                self._flush()
        self._flush()
        for name in self._waiting:
            self._append(name, bytes(_SIZE))

    def others(self) -> Iterator[Record]:
        """The records of folders and links, when all are taken."""
        return read_spooled(self.folder / _OTHERS, wait=_never)

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
                hint="Make room there, or point IGNY8_BACKUP['SCRATCH_DIR'] at a larger disk.",
            ) from None


def partition_index(partition: Partition, blocks: Blocks) -> None:
    """The whole index in ``blocks`` read, checked and taken by a process of its own (``spool_process``): that
    is Python for every record, and a thread would keep the GIL from those that decode packs meanwhile.

    Raises what the blocks, ``index.read`` and ``Partition`` raise; ``ToolError`` where others end the process.
    """
    with closing(blocks), own_process("igny8_backup.trees.extract.partition_process") as (child, slots):
        give_job(child, {"folder": str(partition.folder), "packs": list(partition.packs)})
        send(child, sender(child, slots), blocks)
        finish(child)


def read_spooled(path: Path, *, wait: Callable[[], object]) -> Iterator[Record]:
    """The records in a file of a ``Partition``. Where they are not there yet, ``wait`` is called until they are:
    it takes a moment, and raises where they will never be."""
    with open(path, "rb", buffering=0) as file:
        # One load of a batch in memory: marshal asks a file for a few bytes at a time.
        while size := int.from_bytes(_read(file, _SIZE, wait), "big"):
            for values in marshal.loads(_read(file, size, wait)):  # noqa: S302 - written by us a moment ago
                yield Record._make(values)


def _read(file: IO[bytes], size: int, wait: Callable[[], object]) -> bytes:
    """So many bytes: the end of the file is only how far it has been written."""
    data = file.read(size)
    while len(data) < size:
        wait()
        data += file.read(size - len(data))
    return data


def _never() -> NoReturn:
    raise RuntimeError("The records of folders and links were asked for before all were taken.")
