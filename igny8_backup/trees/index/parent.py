"""The index of an earlier backup, compared with a walk as both go on: memory does not grow with either."""

from __future__ import annotations

import json
from collections.abc import Iterator

from igny8_backup.trees.index.lines import is_of_file
from igny8_backup.trees.model.names import order, unescape


class ParentIndex:
    """The lines of an index, asked for in the order of the walk.

    ``lines`` are those of its records, some at a time (``index.lines``), from a private file that this host
    wrote itself.
    """

    def __init__(self, lines: Iterator[list[bytes]]) -> None:
        self._lines = lines
        self._next: list[bytes] = []  # those that were read already
        self._order: bytes | None = None  # of the path in the first of them, once somebody had to know it

    def take(self, likely: list[bytes]) -> list[bytes]:
        """The lines of files in a row, as many of them as nothing has changed about since.

        ``likely`` is how their lines begin, path and all, if nothing has: then, as for most files on most
        nights, no line is parsed.
        """
        while self._read(len(likely)) and not is_of_file(self._next[0]):
            self._drop(1)  # a folder's, or a link's: nobody asks for them
        same = list(map(bytes.startswith, self._next, likely))
        count = len(same) if all(same) else same.index(False)
        return self._drop(count)

    def find(self, path: bytes) -> bytes | None:
        """The line of the record of this path; None where there is none."""
        wanted = order(path)
        while self._read(1):
            if self._order is None:
                self._order = order(unescape(json.loads(self._next[0])["path"]))
            if self._order > wanted:
                return None
            found = self._order == wanted
            (line,) = self._drop(1)
            if found:
                return line
        return None

    def _read(self, count: int) -> bool:
        """Have so many lines in ``_next``, if there are; whether there is one at all."""
        while count > len(self._next) and (some := next(self._lines, None)) is not None:
            self._next.extend(some)
        return bool(self._next)

    def _drop(self, count: int) -> list[bytes]:
        if count:
            self._order = None
        dropped = self._next[:count]
        del self._next[:count]
        return dropped
