"""The index of the parent backup (the earlier backup to compare with), read in the order of the walk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from igny8_backup.trees.index.lines import describes, is_of_file
from igny8_backup.trees.model.entries import LINKS, SIZE, Row
from igny8_backup.trees.model.names import order, unescape


class ParentIndex:
    """Look-ups of files in the index of an earlier backup, in the order of the walk.

    ``lines`` yields lists of lines (``index.lines``) of a private file that this host wrote itself.
    ``on_missing`` receives the line of each file that the walk does not find: the file is gone or excluded
    now, or its path is now another name (hard link) of a file that the walk found earlier. Memory does not
    grow with the index.
    """

    def __init__(
        self, lines: Iterator[list[bytes]], on_missing: Callable[[bytes], None] | None = None
    ) -> None:
        self._lines = lines
        self._on_missing = on_missing
        self._next: list[bytes] = []  # read but not yet used
        self._order: bytes | None = None  # the sort key of the first path in ``_next``, if known

    def match_unchanged(self, prefixes: list[bytes]) -> list[bytes]:
        """Return the index lines of the next files of the walk, up to the first file that has changed.

        ``prefixes`` are the beginnings that the lines of these files have if the files are unchanged
        (``unchanged_prefixes``). No line is parsed.
        """
        self._read_files(len(prefixes))
        same = list(map(bytes.startswith, self._next, prefixes))
        count = len(same) if all(same) else same.index(False)
        return self._drop(count)

    def match_same_size(self, prefixes: list[bytes], rows: list[Row], *, unchanged: bool) -> list[bytes]:
        """Return the index lines of the next files of the walk whose contents may be the same as before.

        They end at the first file that is new, has another size or several names (hard links) or, unless
        ``unchanged``, has not changed at all. ``prefixes`` are the beginnings that the lines of these files
        have if the files are unchanged, ``rows`` the fields of ``lstat`` of the same files.
        """
        self._read_files(len(prefixes))
        count = 0
        for line, prefix, row in zip(self._next, prefixes, rows, strict=False):
            if row[LINKS] > 1 or not describes(line, prefix, row[SIZE]):
                break
            if not unchanged and line.startswith(prefix):
                break
            count += 1
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
            self._missing(line)
        return None

    def finish(self) -> None:
        """Report to ``on_missing`` the files of the index that come after the last file of the walk."""
        while self._on_missing is not None and self._read(1):
            for line in self._drop(len(self._next)):
                self._missing(line)

    def _read_files(self, count: int) -> None:
        """Read until ``_next`` begins with a file and holds ``count`` lines, or the index ends."""
        while self._read(count) and not is_of_file(self._next[0]):
            self._drop(1)  # folders and links are not looked up

    def _missing(self, line: bytes) -> None:
        if self._on_missing is not None and is_of_file(line):
            self._on_missing(line)

    def _read(self, count: int) -> bool:
        """Read until ``_next`` holds ``count`` lines or the index ends; return whether ``_next`` has any."""
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
