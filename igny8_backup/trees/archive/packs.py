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
from pathlib import Path

from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive import reader
from igny8_backup.trees.archive.comparison import ComparedWalk, Comparison, Found
from igny8_backup.trees.archive.folders import file_header, file_header_size
from igny8_backup.trees.archive.reader import Opened
from igny8_backup.trees.archive.telling import TOGETHER, OnFiles, OnProgress, ProgressBatcher
from igny8_backup.trees.fs.sparse import ZEROS
from igny8_backup.trees.index.lines import FileLines
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import CHANGED, OnSkip, why
from igny8_backup.trees.scan.scan import Excluded, Scan
from igny8_backup.trees.tar import format as tar
from igny8_backup.trees.tar.blocks import TarBlock, TarBlocks, new_room

PACK_LIMIT = 512 << 20
"""Bytes of a pack before compression, unless one file alone is larger."""


class PackWriter:
    """The tree below ``root`` as packs and records, in one walk.

    ``name`` gives the name of pack 1, 2, and so on. While the packs are consumed ``on_record`` gets the
    record of each folder and link, ``on_files`` the lines of files that were read, ``together`` at most,
    ``on_unchanged`` those of files that ``compared`` knows as they are: all in the order of the index.
    ``on_skip`` is told what is not backed up, and what changed while it was read (stored as it was read, at
    the size it had when opened). ``excluded`` and ``tagged`` are as for ``Scan``. ``room`` gives the memory
    that the next block of a tar is written into, ``ROOM`` bytes: memory of the consumer's saves it a copy.
    ``scan`` walks the tree.
    Memory: one listing of names per level of folders, a few blocks, and the names of hard-linked
    files.
    """

    def __init__(
        self,
        root: Path,
        *,
        name: Callable[[int], str],
        on_skip: OnSkip,
        on_record: Callable[[Record], None] = lambda _: None,
        on_files: OnFiles = lambda _: None,
        on_unchanged: OnFiles = lambda _: None,
        on_progress: OnProgress | None = None,
        compared: Comparison | None = None,
        excluded: Excluded | None = None,
        tagged: bool = False,
        limit: int = PACK_LIMIT,
        ahead: int = reader.AHEAD,
        together: int = TOGETHER,
        room: Callable[[], memoryview] = new_room,
        scan: type[Scan] = Scan,
    ) -> None:
        self._walk = scan(root, on_skip=on_skip, excluded=excluded, tagged=tagged)
        self._compared = ComparedWalk(self._walk, compared, on_skip=on_skip)
        self._name = name
        self._on_record = on_record
        self._on_unchanged = on_unchanged
        self._on_skip = on_skip
        self._told = ProgressBatcher(on_files, on_progress, together)
        self._limit = limit
        self._ahead = ahead
        self._room = room
        self._unread: set[bytes] = set()  # of files with several names, those that could not be read
        self._waiting: Opened | None = None  # the next to be stored
        self._pack = ""
        self._aside = new_room()  # for the contents of the first file of a pack, whose block is not there yet

    @property
    def left_out(self) -> int:
        """How many files and folders were excluded so far; what lies in such a folder is not counted."""
        return self._walk.left_out

    def packs(self) -> Generator[tuple[str, TarBlocks], None, None]:
        """Each pack's name and its tar; a pack must be consumed to its end before the next is asked for.

        None at all where nothing is to be stored. Close it (or exhaust it) to give back the descriptors.
        ``FilesError`` when the root cannot be read.
        """
        with self._walk, closing(reader.ahead(self._compared.found(), self._ahead)) as found:
            try:
                self._waiting = self._next_file(found, lambda header: self._aside)
                number = 0
                while self._waiting is not None:
                    number += 1
                    self._pack = self._name(number)
                    yield self._pack, self._tar(found)
                    if self._pack:
                        raise RuntimeError(f"the pack {self._pack} was not consumed")
            finally:
                if self._waiting is not None:
                    os.close(self._waiting.fd)
                    self._waiting = None

    def _next_file(
        self, found: Generator[Found, None, None], room: Callable[[int], memoryview]
    ) -> Opened | None:
        """The next file that must be stored; the records of all before it are told on the way.

        A small one is read into the ``room`` for the contents that follow a header of so many bytes.
        """
        for item in found:
            if isinstance(item, Opened):
                if self._read(item, room):
                    return item
                continue
            self._told.now()
            if isinstance(item, FileLines):
                self._on_unchanged(item)
                self._told.unchanged(item)
            elif item.kind == "hardlink" and item.target in self._unread:
                self._on_skip(item.path, f"another name of {escape(item.target)}, which was not read")
            else:
                self._on_record(item)
        self._told.now()
        return None

    def _read(self, file: Opened, room: Callable[[int], memoryview]) -> bool:
        """Whether it must be stored; not where its contents are those of the last backup, or unreadable."""
        must = False
        old = file.old
        try:
            if file.size <= BLOCK:
                reader.read_small(file, room(file_header_size(file)))
            elif old and old.size == file.size:
                file.sha256 = reader.digest(file)
            if old and (old.size, old.sha256) == (file.size, file.sha256):
                self._told.bytes += file.size
                self._tell(file, old.pack)
            else:
                must = True
        except OSError as error:
            self._lost(file, error)
        finally:
            if not must:
                os.close(file.fd)
        return must

    def _tar(self, found: Generator[Found, None, None]) -> TarBlocks:
        block = TarBlock(self._room())
        used = 0
        while (file := self._waiting) is not None:
            size = file.size
            if used and used + tar.RECORD + size > self._limit:
                if file.data is not None:  # the end of this pack will be written there
                    file.data = _moved(file.data, self._aside)
                break
            if not used and file.data is not None:
                _moved(file.data, block.free(file_header_size(file)))
            used += tar.RECORD + size + tar.padding(size)
            self._waiting = None  # its descriptor is now closed by whoever stores it
            if file.data is not None:
                self._small(file, block)
            else:
                with closing(self._large(file)) as pieces:
                    for piece in pieces:
                        block.add(piece)
                        if block.used >= BLOCK:
                            yield block.content()
                            block = TarBlock(self._room())
            if block.used >= BLOCK:
                yield block.content()
                block = TarBlock(self._room())
            self._waiting = self._next_file(found, block.free)
        self._pack = ""
        block.add(tar.END)
        yield block.content()

    def _small(self, file: Opened, block: TarBlock) -> None:
        """A file of which all is known, and whose contents are in their place."""
        os.close(file.fd)
        size = file.size
        block.add_file(file_header(file), size, tar.padding(size))
        self._told.bytes += size
        self._tell(file, self._pack)

    def _large(self, file: Opened) -> Generator[bytes, None, None]:
        """A file in pieces: exactly as many bytes as its header promises, whatever becomes of the file.

        One that changes meanwhile follows again under the same name: of two members the later counts.
        """
        try:
            for last in (False, True):
                size = file.size
                file.racy = reader.is_racy(file)
                sha256 = hashlib.sha256()
                yield file_header(file)
                at = 0
                while at < size:
                    piece = reader.read_piece(file, at)
                    sha256.update(piece)
                    at += len(piece)
                    self._told.bytes += len(piece)
                    yield piece
                    if at < size:
                        self._told.progress()
                yield ZEROS[: tar.padding(size)]
                status = os.fstat(file.fd)
                file.stable = reader.is_same(file, status)
                if file.stable or last or file.error:
                    break
                self._told.bytes -= size
                file.is_now(status)
        finally:
            os.close(file.fd)
        if file.error:
            self._lost(file, file.error)
            return
        file.sha256 = sha256.hexdigest()
        self._tell(file, self._pack)
        self._told.now()

    def _lost(self, file: Opened, error: OSError) -> None:
        self._on_skip(file.path, why(error))
        if file.entry.status.links > 1:
            self._unread.add(file.path)

    def _tell(self, file: Opened, pack: str) -> None:
        if not file.stable:
            self._on_skip(file.path, CHANGED)
        self._told.file(reader.line_of(file, pack), pack, file.path, file.size)


def _moved(data: memoryview, room: memoryview) -> memoryview:
    """The same bytes in the front of the room."""
    room[: len(data)] = data
    return room[: len(data)]
