"""A tree compared with the last backup of it, as it is walked: what has not changed is not opened."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import TypeAlias

from igny8_backup.trees.archive import reader
from igny8_backup.trees.archive.reader import Opened
from igny8_backup.trees.index.lines import FileLines, stored_in, unchanged_files, unchanged_lines
from igny8_backup.trees.index.parent import ParentIndex
from igny8_backup.trees.model.entries import Entry, Files, Row, Status
from igny8_backup.trees.model.records import Record, from_json, record_of
from igny8_backup.trees.model.skips import REPLACED, OnSkip, why
from igny8_backup.trees.model.xattrs import read_or_tell
from igny8_backup.trees.scan.scan import Scan


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an earlier backup knows of the tree, and how far it is trusted.

    ``checksum``: reader are compared even where size, times and inode are the same. ``packs_to_rewrite``: packs
    whose files count as changed and are stored again, so that nothing needs those packs any more.
    """

    known: ParentIndex
    checksum: bool = False
    packs_to_rewrite: Collection[str] = ()


_LINKS = Status._fields.index("links")

Found: TypeAlias = Record | FileLines | Opened
"""A folder, a link; files that were not opened, whose records are the lines of the last index and which packs
hold already; a file that must be read."""


class ComparedWalk:
    """A walk, and what an earlier backup knows of the tree, if there is one.

    What cannot be opened is told to ``on_skip``. Memory: the names of hard-linked files.
    """

    def __init__(self, walk: Scan, compared: Comparison | None, *, on_skip: OnSkip) -> None:
        self._walk = walk
        self._compared = compared
        self._on_skip = on_skip
        # The first path in the order. By the time of change too: the number of a file that is gone is given
        # to another, and what was seen some time apart need not be one file.
        self._links: dict[tuple[int, int, int], bytes] = {}

    def found(self) -> Generator[Found, None, None]:
        """All that is in the tree, in order; files that may have changed are open: the caller closes them."""
        for met in self._walk:
            if isinstance(met, Files):
                yield from self._files(met)
            else:
                yield self._other(met)

    def _other(self, entry: Entry) -> Record:
        if entry.kind == "symlink":
            return record_of(entry, "symlink", target=entry.target)
        return record_of(entry, "dir", xattrs=self._walk.folder_xattrs(entry))

    def _files(self, files: Files) -> Generator[Found, None, None]:
        compared = self._compared
        likely = unchanged_lines(files)
        # A file that has other names, or whose contents or pack must be looked at, is met by itself.
        in_rows = compared and not (
            compared.checksum or compared.packs_to_rewrite or any(row[_LINKS] > 1 for row in files.rows)
        )
        done = 0
        while done < len(files.names):
            if compared and in_rows and (lines := compared.known.take(likely[done:])):
                start, done = done, done + len(lines)
                yield unchanged_files(files.part(start, done), likely[start:done], lines)
            else:
                if (found := self._file(files, done, likely[done])) is not None:
                    yield found
                done += 1

    def _file(self, files: Files, number: int, likely: bytes) -> Found | None:
        row = files.rows[number]
        if row[_LINKS] > 1 and (first := self._links.get(_identity(row))) is not None:
            return record_of(files.entry(number), "hardlink", target=first)
        found = self._compare(files, number, likely)
        if isinstance(found, Opened):
            row = found.row  # another file may stand there by now: it is that one which is read
        if row[_LINKS] > 1 and found is not None:
            self._links[_identity(row)] = files.path(number)
        return found

    def _compare(self, files: Files, number: int, likely: bytes) -> FileLines | Opened | None:
        compared = self._compared
        if compared is None or (line := compared.known.find(files.path(number))) is None:
            return self._open(files, number, likely, None)
        if line.startswith(likely) and not compared.checksum:
            pack = stored_in(line, likely)
            if pack not in compared.packs_to_rewrite:
                return unchanged_files(files.part(number, number + 1), [likely], [line])
        old = from_json(json.loads(line))
        kept = old.pack and old.pack not in compared.packs_to_rewrite
        return self._open(files, number, likely, old if kept else None)

    def _open(self, files: Files, number: int, begin: bytes, old: Record | None) -> Opened | None:
        try:
            file = reader.open_file(self._walk, files, number, begin, old)
        except OSError as error:
            self._on_skip(files.path(number), why(error))
            return None
        if file is None:
            self._on_skip(files.path(number), REPLACED)
            return None
        file.xattrs = read_or_tell(file.path, file.fd, self._on_skip)
        return file


def _identity(row: Row) -> tuple[int, int, int]:
    """Which file it is that has several names: device, inode, time of change."""
    _, inode, device, *_, ctime_ns = row
    return device, inode, ctime_ns
