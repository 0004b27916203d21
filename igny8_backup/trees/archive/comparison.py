"""Compare a tree with its last backup while it is walked, so that unchanged files are not opened."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive import reader
from igny8_backup.trees.archive.hash_ahead import FEW_FILES, Item, SameSize, Single, hash_ahead
from igny8_backup.trees.archive.hash_client import Hashers
from igny8_backup.trees.archive.reader import OpenedFile
from igny8_backup.trees.index.contents import KnownContents
from igny8_backup.trees.index.lines import (
    FileLines,
    Stored,
    describes,
    pack_of_line,
    unchanged_files,
    unchanged_prefixes,
)
from igny8_backup.trees.index.parent import ParentIndex
from igny8_backup.trees.model.entries import LINKS, SIZE, Entry, Files, Row
from igny8_backup.trees.model.records import Record, from_json, record_of
from igny8_backup.trees.model.skips import OnSkip, why
from igny8_backup.trees.model.xattrs import read_xattrs_or_skip
from igny8_backup.trees.scan.scan import Scan


@dataclass(frozen=True, slots=True)
class Comparison:
    """The index of an earlier backup (its list of files), and the rules for comparing a tree with it.

    ``checksum``: contents are compared even if size, times and inode are the same. Files in
    ``packs_to_rewrite`` (names of packs, the tars of earlier backups) count as changed and are stored again,
    so that those packs are no longer needed. ``full``: every file is stored again, and the index serves only
    to find the files that are gone. ``hashers`` read the files that have the same size as before; without
    them, the caller does. They need a scan that opens files at any time (``ScanAhead``). ``contents`` finds
    files that were renamed, moved or copied.
    """

    parent: ParentIndex
    checksum: bool = False
    packs_to_rewrite: Collection[str] = ()
    full: bool = False
    hashers: Hashers | None = None
    contents: KnownContents | None = None


Found: TypeAlias = Record | FileLines | OpenedFile
"""A folder or link; files that packs of earlier backups hold, as index lines; or a file that must be read."""


class ComparedWalk:
    """A walk over a tree that compares each file with an earlier backup, if there is one.

    ``on_skip`` receives files that cannot be opened. ``on_progress`` is called from time to time while large
    files are compared. Memory grows with the number of hard-linked files.
    """

    def __init__(
        self,
        scan: Scan,
        compared: Comparison | None,
        *,
        on_skip: OnSkip,
        on_progress: Callable[[], object],
    ) -> None:
        self._scan = scan
        self._compared = compared
        self._contents = compared.contents if compared else None
        self._on_skip = on_skip
        self._on_progress = on_progress
        # The first path of each hard-linked file. The key includes the time of change: an inode number is
        # used again once its file is gone, and entries seen some time apart need not be one file.
        self._links: dict[tuple[int, int, int], bytes] = {}

    def found(self) -> Generator[Found, None, None]:
        """Yield everything in the tree, in the order of the walk.

        Folders and links are yielded as a ``Record``. Files that packs of an earlier backup hold are yielded
        as ``FileLines`` (lines of the index). All other files are opened and yielded as an ``OpenedFile``,
        which the caller closes.
        """
        items, compared = self._walk(), self._compared
        if compared and compared.hashers:
            items = hash_ahead(items, compared.hashers, compared.contents, self._on_progress)
        with closing(items):
            for item in items:
                if isinstance(item, Single):
                    if (found := self._file(item)) is not None:
                        yield found
                elif isinstance(item, Record | FileLines):  # no SameSize is left
                    yield item

    def finish(self) -> None:
        """Report the files that the earlier index lists after the last file of the walk.

        ``ParentIndex`` passes them to its ``on_missing``. Call this method last.
        """
        if self._compared is not None:
            self._compared.parent.finish()

    def may_be_stored(self, file: OpenedFile) -> bool:
        """Return whether an earlier backup may hold the contents of a file, judging by its size."""
        if file.unknown:
            return False
        if file.old and file.old.size == file.size:
            return True
        return self._contents is not None and self._contents.may_hold(file.size)

    def stored(self, file: OpenedFile) -> Stored | None:
        """Return where an earlier backup stored the contents of a file, if it did and the file was hashed."""
        old = file.old
        if old and (old.size, old.sha256) == (file.size, file.sha256):
            return Stored(old.sha256, old.pack, old.member)
        if self._contents is None or file.unknown or not file.sha256:
            return None
        return self._contents.find(file.size, file.sha256)

    def _walk(self) -> Generator[Item, None, None]:
        """Yield everything in the tree, compared by status only. Nothing is opened."""
        for item in self._scan:
            if isinstance(item, Files):
                yield from self._files(item)
            else:
                yield self._non_file(item)

    def _non_file(self, entry: Entry) -> Record:
        if entry.kind == "symlink":
            return record_of(entry, "symlink", target=entry.target)
        return record_of(entry, "dir", xattrs=self._scan.folder_xattrs(entry))

    def _files(self, files: Files) -> Generator[FileLines | Single | SameSize, None, None]:
        compared = self._compared
        prefixes = unchanged_prefixes(files)
        # Files are compared in batches, unless one is hard-linked, or all must be opened or may be rewritten.
        in_batches = compared and not (
            compared.full
            or compared.checksum
            or compared.packs_to_rewrite
            or any(row[LINKS] > 1 for row in files.rows)
        )
        done = 0
        while done < len(files.names):
            start = done
            if compared and in_batches and (lines := compared.parent.match_unchanged(prefixes[done:])):
                done += len(lines)
                yield unchanged_files(files.part(start, done), prefixes[start:done], lines)
            elif lines := self._same_size(files, prefixes, done):
                done += len(lines)
                yield SameSize(files.part(start, done), prefixes[start:done], lines)
            else:
                done = yield from self._one_by_one(files, prefixes, done)

    def _one_by_one(
        self, files: Files, prefixes: list[bytes], start: int
    ) -> Generator[Single | SameSize, None, int]:
        """Yield the file with number ``start``; before it, the files that may have been renamed.

        Returns the number of the next file.
        """
        number, line = start, None
        while number < len(files.names):
            line = self._compared.parent.find(files.path(number)) if self._compared else None
            if not self._may_be_renamed(files.rows[number], prefixes[number], line):
                break
            number += 1
        if number > start:
            yield SameSize(files.part(start, number), prefixes[start:number], [b""] * (number - start))
        if number < len(files.names):
            yield Single(files, number, prefixes[number], line)
        return number + 1

    def _may_be_renamed(self, row: Row, prefix: bytes, line: bytes | None) -> bool:
        """Return whether hash workers look for the contents of a file under other paths.

        ``line`` is the line of its path in the last index, if there is one. If it has the size of the file,
        the result is false: the contents are compared with those of this path. Small files are mostly new,
        and the archive worker hashes them in any case. So the result is true for small files only after the
        contents of some files were found under other paths.
        """
        compared, contents = self._compared, self._contents
        if compared is None or contents is None or compared.hashers is None or row[LINKS] > 1:
            return False
        if line is not None and describes(line, prefix, row[SIZE]):
            return False
        return (row[SIZE] > BLOCK or contents.found >= FEW_FILES) and contents.may_hold(row[SIZE])

    def _same_size(self, files: Files, prefixes: list[bytes], start: int) -> list[bytes]:
        """Return the lines of the next files, from number ``start``, whose contents hash workers compare."""
        compared = self._compared
        if compared is None or compared.full or compared.hashers is None:
            return []
        return compared.parent.match_same_size(
            prefixes[start:], files.rows[start:], unchanged=compared.checksum
        )

    def _file(self, single: Single) -> Found | None:
        files, number, *_ = single
        row = files.rows[number]
        if row[LINKS] > 1 and (first := self._links.get(_identity(row))) is not None:
            return record_of(files.entry(number), "hardlink", target=first)
        found = self._compare(single)
        if isinstance(found, OpenedFile):
            row = found.row  # the status of the file that was opened: it may have replaced the listed one
        if row[LINKS] > 1 and found is not None:
            self._links[_identity(row)] = files.path(number)
        return found

    def _compare(self, single: Single) -> FileLines | OpenedFile | None:
        compared = self._compared
        files, number, prefix, line, _ = single
        if compared is None or line is None or compared.full:
            return self._open(single, None)
        if line.startswith(prefix) and not compared.checksum:
            pack = pack_of_line(line, prefix)
            if pack not in compared.packs_to_rewrite:
                return unchanged_files(files.part(number, number + 1), [prefix], [line])
        old = from_json(json.loads(line))
        reusable = old.pack and old.pack not in compared.packs_to_rewrite
        return self._open(single, old if reusable else None)

    def _open(self, single: Single, old: Record | None) -> OpenedFile | None:
        files, number, prefix, _, unknown = single
        try:
            file = reader.open_file(self._scan, files, number, prefix, old)
        except OSError as error:
            self._on_skip(files.path(number), why(error))
            return None
        file.unknown = unknown
        file.xattrs = read_xattrs_or_skip(file.path, file.fd, self._on_skip)
        return file


def _identity(row: Row) -> tuple[int, int, int]:
    """Return the device, inode and time of change, which together identify a hard-linked file."""
    _, inode, device, *_, ctime_ns = row
    return device, inode, ctime_ns
