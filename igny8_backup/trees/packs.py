"""File contents as packs: ordinary tars of bounded size, and everything else as records.

One walk feeds both. A pack opens without this software: extract every pack of a tree in their order,
then the tar of ``folders``, which brings empty folders, symlinks, hard links and the folders'
own modes and times (``tar x --numeric-owner -p``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.streams import BLOCK
from igny8_backup.trees import contents, tar
from igny8_backup.trees.comparison import ComparedWalk, Comparison, Found, Unchanged
from igny8_backup.trees.contents import Opened
from igny8_backup.trees.folders import header
from igny8_backup.trees.names import escape
from igny8_backup.trees.records import Record, record_of
from igny8_backup.trees.scan import Excluded, Scan
from igny8_backup.trees.skips import CHANGED, OnSkip, why
from igny8_backup.trees.sparse import ZEROS
from igny8_backup.trees.tar_blocks import TarBlock, TarBlocks, new_room

PACK_LIMIT = 512 << 20
"""Bytes of a pack before compression, unless one file alone is larger."""

OnProgress = Callable[[int, int], None]
"""Told after each file, and within large ones: files and bytes of contents so far, in all."""


@dataclass(slots=True)
class _Member:
    """A file that is to be stored; of a small one the contents, good until the next is read, and whether they
    are of one instant."""

    file: Opened
    data: memoryview | None = None
    sha256: str = ""
    stable: bool = True


class PackWriter:
    """The tree below ``root`` as packs and records, in one walk.

    ``name`` gives the name of pack 1, 2, and so on. ``on_record`` gets the record of everything
    that is backed up, in the order of the index, while the packs are consumed, ``on_unchanged`` those of
    files which ``compared`` knows as they are (both in one order); ``on_skip`` what is not backed up, and
    what changed while it was read (stored as it was read, at the size it had when opened).
    ``excluded`` and ``tagged`` are as for ``Scan``. ``room`` gives the memory that the next block of a tar is
    written into, ``ROOM`` bytes: memory of the consumer's saves it a copy.
    Memory: one listing of names per level of folders, a few blocks, and the names of hard-linked
    files.
    """

    def __init__(
        self,
        root: Path,
        *,
        name: Callable[[int], str],
        on_record: Callable[[Record], None],
        on_skip: OnSkip,
        on_unchanged: Callable[[list[Unchanged]], None] = lambda _: None,
        on_progress: OnProgress | None = None,
        compared: Comparison | None = None,
        excluded: Excluded | None = None,
        tagged: bool = False,
        limit: int = PACK_LIMIT,
        ahead: int = contents.AHEAD,
        room: Callable[[], memoryview] = new_room,
    ) -> None:
        self._walk = Scan(root, on_skip=on_skip, excluded=excluded, tagged=tagged)
        self._compared = ComparedWalk(self._walk, compared, on_skip=on_skip)
        self._name = name
        self._on_record = on_record
        self._on_unchanged = on_unchanged
        self._on_skip = on_skip
        self._on_progress = on_progress
        self._limit = limit
        self._ahead = ahead
        self._room = room
        self._scratch = new_room()
        self._files = 0
        self._bytes = 0
        self._unread: set[bytes] = set()  # of files with several names, those that could not be read
        self._waiting: _Member | None = None
        self._pack = ""

    @property
    def left_out(self) -> int:
        """How many files and folders were excluded so far; what lies in such a folder is not counted."""
        return self._walk.left_out

    def packs(self) -> Generator[tuple[str, TarBlocks], None, None]:
        """Each pack's name and its tar; a pack must be consumed to its end before the next is asked for.

        None at all where nothing is to be stored. Close it (or exhaust it) to give back the descriptors.
        ``FilesError`` when the root cannot be read.
        """
        with self._walk, closing(contents.ahead(self._compared.found(), self._ahead)) as found:
            try:
                self._waiting = self._next_member(found)
                number = 0
                while self._waiting is not None:
                    number += 1
                    self._pack = self._name(number)
                    yield self._pack, self._tar(found)
                    if self._pack:
                        raise RuntimeError(f"the pack {self._pack} was not consumed")
            finally:
                if self._waiting is not None:
                    os.close(self._waiting.file.fd)
                    self._waiting = None

    def _next_member(self, found: Generator[Found, None, None]) -> _Member | None:
        """The next file that must be stored; the records of all before it are told on the way."""
        for item in found:
            if isinstance(item, Opened):
                member = self._read(item)
                if member is not None:
                    return member
            elif isinstance(item, list):
                self._count(len(item), sum(file.size for file in item))
                self._on_unchanged(item)
            elif item.kind == "hardlink" and item.target in self._unread:
                self._on_skip(item.path, f"another name of {escape(item.target)}, which was not read")
            else:
                self._on_record(item)
        return None

    def _read(self, file: Opened) -> _Member | None:
        """What is to be stored of it; None where its contents are those of the last backup, or unreadable."""
        member: _Member | None = None
        old = file.old
        try:
            if file.entry.size <= BLOCK:
                file.entry, data, stable = contents.read_small(file, self._walk, self._scratch)
                member = _Member(file, data, hashlib.sha256(data).hexdigest(), stable)
            elif old and old.size == file.entry.size:
                member = _Member(file, None, contents.digest(file))
            else:
                member = _Member(file)
            if old and old.size == file.entry.size and old.sha256 == member.sha256:
                self._count(1, file.entry.size)
                self._tell_file(file, old.sha256, old.pack, stable=member.stable)
                member = None
        except OSError as error:
            member = None
            self._lost(file, error)
        finally:
            if member is None:
                os.close(file.fd)
        return member

    def _tar(self, found: Generator[Found, None, None]) -> TarBlocks:
        block = TarBlock(self._room())
        used = 0
        while (member := self._waiting) is not None:
            size = member.file.entry.size
            if used and used + tar.RECORD + size > self._limit:
                break
            used += tar.RECORD + size + tar.padding(size)
            self._waiting = None  # its descriptor is now closed by whoever stores it
            if member.data is not None:
                self._small(member, member.data, block)
            else:
                with closing(self._large(member.file)) as pieces:
                    for piece in pieces:
                        block.add(piece)
                        if block.used >= BLOCK:
                            yield block.content()
                            block = TarBlock(self._room())
            if block.used >= BLOCK:
                yield block.content()
                block = TarBlock(self._room())
            self._waiting = self._next_member(found)
        self._pack = ""
        block.add(tar.END)
        yield block.content()

    def _small(self, member: _Member, data: memoryview, block: TarBlock) -> None:
        """A file of which all is known."""
        os.close(member.file.fd)
        block.add(header(member.file.entry, tar.FILE, size=len(data)))
        block.add(data)
        block.add(ZEROS[: tar.padding(len(data))])
        self._count(1, len(data))
        self._tell_file(member.file, member.sha256, self._pack, stable=member.stable)

    def _large(self, file: Opened) -> Generator[bytes, None, None]:
        """A file in pieces: exactly as many bytes as its header promises, whatever becomes of the file.

        One that changes meanwhile follows again under the same name: of two members the later counts.
        """
        try:
            for last in (False, True):
                entry = file.entry
                sha256 = hashlib.sha256()
                yield header(entry, tar.FILE, size=entry.size)
                at = 0
                while at < entry.size:
                    piece = contents.read_piece(file, at)
                    sha256.update(piece)
                    at += len(piece)
                    self._bytes += len(piece)
                    yield piece
                    if at < entry.size:
                        self._tell()
                yield ZEROS[: tar.padding(entry.size)]
                status = os.fstat(file.fd)
                stable = contents.is_same(entry, status)
                if stable or last or file.error:
                    break
                self._bytes -= entry.size
                file.entry = self._walk.describe(entry.path, status, "file")
        finally:
            os.close(file.fd)
        if file.error:
            self._lost(file, file.error)
            return
        self._count(1, 0)
        self._tell_file(file, sha256.hexdigest(), self._pack, stable=stable)

    def _lost(self, file: Opened, error: OSError) -> None:
        self._on_skip(file.entry.path, why(error))
        if file.entry.status.st_nlink > 1:
            self._unread.add(file.entry.path)

    def _tell_file(self, file: Opened, sha256: str, pack: str, *, stable: bool) -> None:
        if not stable:
            self._on_skip(file.entry.path, CHANGED)
        racy = not stable or contents.is_racy(file.entry)
        self._on_record(
            record_of(file.entry, "file", xattrs=file.xattrs, sha256=sha256, pack=pack, racy=racy)
        )

    def _count(self, files: int, size: int) -> None:
        self._files += files
        self._bytes += size
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._files, self._bytes)
