"""The index of the parent backup (the earlier one to compare with), read in the order of the walk."""

from __future__ import annotations

import json
from collections.abc import Iterator

from igny8_backup.trees.index.lines import is_of_file
from igny8_backup.trees.model.names import order, unescape


class ParentIndex:
    """Look-ups of files in the index of an earlier backup, in the order of the walk.

    ``lines`` yields lists of lines (``index.lines``) of a private file that this host wrote itself. Memory
    does not grow with the index.
    """

    def __init__(self, lines: Iterator[list[bytes]]) -> None:
        self._lines = lines
        self._next: list[bytes] = []  # read but not yet used
        self._order: bytes | None = None  # of the path in the first of them, if known

    def match_unchanged(self, prefixes: list[bytes]) -> list[bytes]:
        """Return the index lines of the next files of the walk, up to the first file that has changed.

        ``prefixes`` are the beginnings of the lines of unchanged files (``unchanged_prefixes``). No line is
        parsed.
        """
        while self._read(len(prefixes)) and not is_of_file(self._next[0]):
            self._drop(1)  # folders and links are not looked up
        same = list(map(bytes.startswith, self._next, prefixes))
        count = len(same) if all(same) else same.index(False)
        return self._drop(count)

    def find(self, path: bytes) -> bytes | None:
        """Return the index line of this path, or None. Paths must come in the walk's order."""
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
        """Read until ``_next`` holds ``count`` lines or the index ends; return whether it holds any."""
        while count > len(self._next) and (batch := next(self._lines, None)) is not None:
            self._next.extend(batch)
        return bool(self._next)

    def _drop(self, count: int) -> list[bytes]:
        """Remove the first ``count`` lines of ``_next`` (read, not yet used) and return them."""
        if count:
            self._order = None
        dropped = self._next[:count]
        del self._next[:count]
        return dropped
