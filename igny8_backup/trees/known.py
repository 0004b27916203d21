"""The index of an earlier backup, compared with a walk as both go on: memory does not grow with either."""

from __future__ import annotations

import json
from collections.abc import Iterator

from igny8_backup.trees.names import order, unescape


class Known:
    """The lines of an index, asked for in the order of the walk.

    ``lines`` are those of its records (``index.lines``), from a private file that this host wrote itself.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._line = next(lines, b"")
        self._order: bytes | None = None  # of the path in _line, once somebody had to know it

    def find(self, path: bytes, likely: bytes) -> bytes | None:
        """The line of the record of this path; None where there is none.

        ``likely`` is how the line begins, path and all, if nothing about the file has changed: then, as for
        most files on most nights, no line is parsed.
        """
        while self._line:
            line = self._line
            if line.startswith(likely):
                self._next()
                return line
            if self._order is None:
                self._order = order(unescape(json.loads(line)["path"]))
            wanted = order(path)
            if self._order > wanted:
                return None
            found = self._order == wanted
            self._next()
            if found:
                return line
        return None

    def _next(self) -> None:
        self._line = next(self._lines, b"")
        self._order = None
