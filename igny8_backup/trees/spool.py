"""The records of an index sorted out by pack, in private scratch: each is parsed and checked once only."""

from __future__ import annotations

import marshal
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from igny8_backup.errors import IntegrityError
from igny8_backup.trees.records import Record

_GATHER = 2000  # records of all packs together that wait in memory
_ALL = "all"


class Spool:
    """Takes the records once, then gives those of a pack, or all, as often as asked, in their order.

    ``folder`` is an empty, private folder of the caller's; only this object reads what it puts there.
    ``packs`` are those that there are: ``IntegrityError`` for a file in another.
    """

    def __init__(self, folder: Path, records: Iterable[Record], packs: Collection[str]) -> None:
        self._folder = folder
        self._waiting: dict[str, list[tuple[object, ...]]] = {}
        for count, record in enumerate(records, start=1):
            values = tuple(record)  # marshal takes no subclass
            self._waiting.setdefault(_ALL, []).append(values)
            if record.kind == "file":
                if record.pack not in packs:
                    raise IntegrityError(
                        f"The index names the pack {record.pack}, and the manifest does not."
                    )
                self._waiting.setdefault(f"pack-{record.pack}", []).append(values)
            if count % _GATHER == 0:
                self._flush()
        self._flush()

    def all(self) -> Iterator[Record]:
        """Every record."""
        return self._read(_ALL)

    def of_pack(self, name: str) -> Iterator[Record]:
        """The records that the index places in this pack; none where it names no such pack."""
        return self._read(f"pack-{name}")

    def _flush(self) -> None:
        for name, values in self._waiting.items():
            with open(self._folder / name, "ab") as file:
                batch = marshal.dumps(values)
                file.write(len(batch).to_bytes(8, "big") + batch)
        self._waiting.clear()

    def _read(self, name: str) -> Iterator[Record]:
        path = self._folder / name
        if not path.exists():
            return
        with open(path, "rb") as file:
            # One load of a batch in memory: marshal asks a file for a few bytes at a time.
            while size := int.from_bytes(file.read(8), "big"):
                for values in marshal.loads(file.read(size)):  # noqa: S302 - written by us a moment ago
                    yield Record._make(values)
