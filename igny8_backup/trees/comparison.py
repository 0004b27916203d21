"""A tree compared with the last backup of it, as it is walked: what has not changed is not opened."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from igny8_backup.trees import contents
from igny8_backup.trees.contents import Opened
from igny8_backup.trees.known import Known
from igny8_backup.trees.records import Record, from_json, record_of, stored_in, unchanged_line
from igny8_backup.trees.scan import Entry, Scan
from igny8_backup.trees.skips import REPLACED, OnSkip, why
from igny8_backup.trees.xattrs import Xattrs, read_xattrs


class Unchanged(NamedTuple):
    """A file that was not opened: the line of the last index is its record, the pack holds it already."""

    line: bytes
    pack: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an earlier backup knows of the tree, and how far it is trusted.

    ``checksum``: contents are compared even where size, times and inode are the same. ``emptied``: packs
    whose files count as changed and are stored again, so that nothing needs those packs any more.
    """

    known: Known
    checksum: bool = False
    emptied: Collection[str] = ()


Found: TypeAlias = Record | Unchanged | Opened
"""A folder, a link; a file that has not changed; a file that must be read."""


class ComparedWalk:
    """A walk, and what an earlier backup knows of the tree, if there is one.

    What cannot be opened is told to ``on_skip``. Memory: the names of hard-linked files.
    """

    def __init__(self, walk: Scan, compared: Comparison | None, *, on_skip: OnSkip) -> None:
        self._walk = walk
        self._compared = compared
        self._on_skip = on_skip
        self._links: dict[tuple[int, int], bytes] = {}  # device, inode -> the first path in the order

    def found(self) -> Generator[Found, None, None]:
        """All that is in the tree, in order; files that may have changed are open: the caller closes them."""
        for entry in self._walk:
            if entry.kind == "file":
                first = self._links.get((entry.device, entry.inode)) if entry.nlink > 1 else None
                if first is not None:
                    yield record_of(entry, "hardlink", target=first)
                elif (file := self._compare(entry)) is not None:
                    if entry.nlink > 1:
                        self._links[entry.device, entry.inode] = entry.path
                    yield file
            elif entry.kind == "dir":
                fd = self._walk.folder_fd(entry)
                yield record_of(entry, "dir", xattrs=() if fd is None else self._xattrs(entry.path, fd))
            else:
                yield record_of(entry, "symlink", target=entry.target)

    def _compare(self, entry: Entry) -> Unchanged | Opened | None:
        if self._compared is None:
            return self._open(entry, None)
        begin = unchanged_line(entry)
        line = self._compared.known.find(entry.path, begin)
        if line is None:
            return self._open(entry, None)
        if line.startswith(begin) and not self._compared.checksum:
            pack = stored_in(line, begin)
            if pack not in self._compared.emptied:
                return Unchanged(line, pack, entry)
        old = from_json(json.loads(line))
        return self._open(entry, old if old.pack and old.pack not in self._compared.emptied else None)

    def _open(self, entry: Entry, old: Record | None) -> Opened | None:
        try:
            found = contents.open_file(self._walk, entry)
        except OSError as error:
            self._on_skip(entry.path, why(error))
            return None
        if found is None:
            self._on_skip(entry.path, REPLACED)
            return None
        fd, entry = found
        return Opened(entry, fd, self._xattrs(entry.path, fd), old)

    def _xattrs(self, path: bytes, fd: int) -> Xattrs:
        try:
            return read_xattrs(fd)
        except OSError as error:
            self._on_skip(path, f"its extended attributes {why(error).removeprefix('cannot ')}")
            return ()
