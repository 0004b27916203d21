"""The records of an index sorted out by pack, in private scratch: each is parsed and checked once only."""

from __future__ import annotations

import marshal
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from igny8_backup.errors import IntegrityError
from igny8_backup.trees.records import Record

_GATHER = 2000  # records of all packs together that wait in memory
_OTHERS = "others"


class Spool:
    """Takes the records once, then gives those of a pack, or those of no file, in their order.

    ``folder`` is an empty, private folder of the caller's; only this software reads what is put there: the
    records of a pack in a file of its name (``read_spooled``).
    ``packs`` are those that there are: ``IntegrityError`` for a file in another.
    """

    def __init__(self, folder: Path, records: Iterable[Record], packs: Collection[str]) -> None:
        self.folder = folder
        self._waiting: dict[str, list[tuple[object, ...]]] = {name: [] for name in (_OTHERS, *packs)}
        for count, record in enumerate(records, start=1):
            name = record.pack if record.kind == "file" else _OTHERS
            if name not in self._waiting:
                raise IntegrityError(f"The index names the pack {name}, and the manifest does not.")
            self._waiting[name].append(tuple(record))  # marshal takes no subclass
            if count % _GATHER == 0:
                self._flush()
        self._flush()

    def others(self) -> Iterator[Record]:
        """The records of folders and links."""
        return read_spooled(self.folder / _OTHERS)

    def _flush(self) -> None:
        for name, values in self._waiting.items():
            with open(self.folder / name, "ab") as file:
                if values:
                    batch = marshal.dumps(values)
                    file.write(len(batch).to_bytes(8, "big") + batch)
                    values.clear()


def read_spooled(path: Path) -> Iterator[Record]:
    """The records in a file of a ``Spool``."""
    with open(path, "rb") as file:
        # One load of a batch in memory: marshal asks a file for a few bytes at a time.
        while size := int.from_bytes(file.read(8), "big"):
            for values in marshal.loads(file.read(size)):  # noqa: S302 - written by us a moment ago
                yield Record._make(values)
