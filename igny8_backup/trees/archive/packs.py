"""Write the files of a tree into packs: ordinary tars of bounded size.

``PackWriter`` walks the tree once. It yields the packs and emits everything for the index as events. To
restore a tree without this software, extract its packs in order (``tar x --numeric-owner -p``), then the tar
of ``folders``, which holds empty folders, symlinks, hard links, and the modes and times of folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from pathlib import Path

from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive import reader
from igny8_backup.trees.archive.comparison import ComparedWalk, Comparison, Found
from igny8_backup.trees.archive.events import BATCH_FILES, Emit, EntryArchived, FileBatcher, Skipped
from igny8_backup.trees.archive.folders import file_header, file_header_size
from igny8_backup.trees.archive.large_tar import LARGE, LargeTars
from igny8_backup.trees.archive.member import large_member
from igny8_backup.trees.archive.reader import OpenedFile
from igny8_backup.trees.index.lines import FileLines, Stored
from igny8_backup.trees.model.facts import Facts
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.skips import CHANGED, why
from igny8_backup.trees.scan.scan import Excluded, Scan
from igny8_backup.trees.tar import format as tar
from igny8_backup.trees.tar.blocks import TarBlock, TarBlocks, new_buffer

PACK_LIMIT = 512 << 20
"""Largest number of bytes in a pack before compression, unless one file alone is larger."""


def pack_name(backup_id: str, number: int) -> str:
    """Return the name of pack (tar of files) ``number`` of a backup, counted from 1."""
    return f"{backup_id}-{number:04d}"


class PackWriter:
    """A walk over the tree below ``root`` that stores its changed files in packs (tars of bounded size).

    The packs are named after ``backup_id`` (``pack_name``). ``emit`` receives the events (``archive.events``)
    while the packs are read. Files that are unchanged since the backup in ``compared`` are not opened. A file
    that changes whenever it is read is stored at the size it had when it was opened, and reported as skipped.
    A file whose contents the backup in ``compared`` holds under another path is read, but not stored.
    ``large`` receives the files of at least ``LARGE`` bytes; without it, they are in the packs as well.
    ``excluded``, ``exclude_caches`` and ``own`` say what is not backed up (see ``Scan``). ``scan`` creates
    the walk. ``limit`` is the size of a pack in bytes, ``ahead`` the number of files that are opened in
    advance. ``block_buffer`` returns ``BUFFER_SIZE`` bytes of memory for the next block; memory shared with
    the consumer saves a copy.

    Memory: one listing of names per level of folders, a few blocks, and the names of hard-linked files.
    """

    def __init__(
        self,
        root: Path,
        *,
        backup_id: str,
        emit: Emit,
        compared: Comparison | None = None,
        large: LargeTars | None = None,
        excluded: Excluded | None = None,
        exclude_caches: bool = False,
        own: Collection[bytes] = (),
        limit: int = PACK_LIMIT,
        ahead: int = reader.AHEAD,
        batch_files: int = BATCH_FILES,
        block_buffer: Callable[[], memoryview] = new_buffer,
        scan: Callable[..., Scan] = Scan,
    ) -> None:
        self._backup_id = backup_id
        self._emit = emit
        self._scan = scan(root, on_skip=self._skip, excluded=excluded, exclude_caches=exclude_caches, own=own)
        self._batch = FileBatcher(emit, batch_files)
        going_on = self._batch.report_progress
        self._compared = ComparedWalk(self._scan, compared, on_skip=self._skip, on_progress=going_on)
        self._large = large
        self._limit = limit
        self._ahead = ahead
        self._block_buffer = block_buffer
        self._unread: set[bytes] = set()  # paths of hard-linked files that could not be read
        self._next: OpenedFile | None = None  # the next file to be stored
        self._pack = ""
        # For the first small file of a pack, which is read before there is a block.
        self._spare = new_buffer()

    @property
    def facts(self) -> Facts:
        """What the walk has learned about the tree so far."""
        return self._scan.facts

    def packs(self) -> Generator[tuple[str, TarBlocks], None, None]:
        """Yield the name and the bytes of each pack (tar); read each pack to its end before the next.

        There is no pack if nothing has to be stored. Close or exhaust the generator to close its files.
        Raises ``FilesError`` if the root cannot be read, ``IntegrityError`` if the parent index is damaged.
        """
        with closing(self._scan), closing(reader.ahead(self._compared.found(), self._ahead)) as found:
            try:
                self._next = self._next_file(found, lambda header: self._spare)
                number = 0
                while self._next is not None:
                    number += 1
                    self._pack = pack_name(self._backup_id, number)
                    yield self._pack, self._tar(found)
                    if self._pack:
                        raise RuntimeError(f"the pack {self._pack} was not consumed")
                self._compared.finish()
                if self._large:
                    self._large.finish()
            finally:
                if self._next is not None:
                    os.close(self._next.fd)
                    self._next = None

    def _next_file(
        self, found: Generator[Found, None, None], buffer: Callable[[int], memoryview]
    ) -> OpenedFile | None:
        """Return the next file of the walk that must be stored; None if there is none.

        Unchanged files, folders and links that come before it are emitted as events. ``buffer(n)`` returns
        the memory for the contents of a small file, which follow a tar header of ``n`` bytes.
        """
        for item in found:
            if isinstance(item, OpenedFile):
                if self._read(item, buffer):
                    return item
            elif isinstance(item, FileLines):
                self._batch.add_known(item)
            elif item.kind == "hardlink" and item.target in self._unread:
                self._skip(item.path, f"another name of {escape(item.target)}, which was not read")
            else:
                self._batch.flush()
                self._emit(EntryArchived(item))
        self._batch.flush()
        return None

    def _read(self, file: OpenedFile, buffer: Callable[[int], memoryview]) -> bool:
        """Read a file that may have changed, and return whether it must be stored.

        Returns False, and closes the file, if its contents are the same as in the last backup, if it is
        unreadable, or if it is in a tar of large files now. A small file is read into the memory that
        ``buffer`` returns (see ``_next_file``).
        """
        must = False
        try:
            if file.size <= BLOCK:
                reader.read_small(file, buffer(file_header_size(file)))
            elif self._compared.may_be_stored(file):
                file.sha256 = reader.digest(file, self._batch.report_progress)
            if (stored := self._compared.stored(file)) is not None:
                self._batch.bytes += file.size
                self._archived(file, stored)
            else:
                must = True
        except OSError as error:
            self._unreadable(file, error)
        finally:
            if not must:
                os.close(file.fd)
        if must and self._large and file.size >= LARGE:
            pack = self._large.begin_file(file.size)
            with closing(self._store_large(file, pack)) as pieces:
                for piece in pieces:
                    self._large.add(piece)
            return False
        return must

    def _tar(self, found: Generator[Found, None, None]) -> TarBlocks:
        block = TarBlock(self._block_buffer())
        used = 0
        while (file := self._next) is not None:
            size = file.size
            if used and used + tar.RECORD + size > self._limit:
                if file.data is not None:  # it is in memory that the end of this pack will use
                    file.data = _copied(file.data, self._spare)
                break
            if not used and file.data is not None:
                _copied(file.data, block.free(file_header_size(file)))
            used += tar.RECORD + size + tar.padding(size)
            self._next = None  # from here on the code that stores the file closes it
            if file.data is not None:
                self._store_small(file, block)
            else:
                with closing(self._store_large(file, self._pack)) as pieces:
                    for piece in pieces:
                        block.add(piece)
                        if block.used >= BLOCK:
                            yield block.content()
                            block = TarBlock(self._block_buffer())
            if block.used >= BLOCK:
                yield block.content()
                block = TarBlock(self._block_buffer())
            self._next = self._next_file(found, block.free)
        self._pack = ""
        block.add(tar.END)
        yield block.content()

    def _store_small(self, file: OpenedFile, block: TarBlock) -> None:
        """Add a small file to a block of the pack; its contents are in the block's memory already."""
        os.close(file.fd)
        size = file.size
        block.add_file(file_header(file), size, tar.padding(size))
        self._batch.bytes += size
        self._archived(file, Stored(file.sha256, self._pack))

    def _store_large(self, file: OpenedFile, pack: str) -> Generator[bytes, None, None]:
        """Yield a file of more than ``BLOCK`` bytes as a member of the tar ``pack``; close the file."""
        try:
            yield from large_member(file, self._count, self._batch.report_progress)
        finally:
            os.close(file.fd)
        if file.error:
            self._unreadable(file, file.error)
            return
        self._archived(file, Stored(file.sha256, pack))
        self._batch.flush()

    def _count(self, size: int) -> None:
        self._batch.bytes += size

    def _archived(self, file: OpenedFile, stored: Stored) -> None:
        if not file.stable:
            self._skip(file.path, CHANGED)
        self._batch.add(reader.line_of(file, stored), stored.pack, file.path, file.size)

    def _unreadable(self, file: OpenedFile, error: OSError) -> None:
        self._skip(file.path, why(error))
        if file.entry.status.links > 1:
            self._unread.add(file.path)

    def _skip(self, path: bytes, reason: str) -> None:
        self._emit(Skipped(path, reason))


def _copied(data: memoryview, target: memoryview) -> memoryview:
    """Copy ``data`` to the beginning of ``target``; return that part of ``target``."""
    target[: len(data)] = data
    return target[: len(data)]
