"""Write a tree into a staging folder (a private folder, in which a restore builds the new tree).

Nothing is written through a symlink or outside the staging folder, whatever the index or a pack contains:
each folder is opened relative to the one above, with ``O_NOFOLLOW``, and each file is new (``O_EXCL``).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.streams import BLOCK, Views
from igny8_backup.trees.extract.check import read_pack
from igny8_backup.trees.fs.linux import sync_filesystem
from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.fs.safe_dirs import FOLDER, Folders, MadeFolder, refused
from igny8_backup.trees.fs.sparse import SparseFile, read_at
from igny8_backup.trees.model.damage import damaged
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.tar.format import Member

_WRITTEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class TreeWriter:
    """Writes a tree into ``staging``, a private, empty folder that this package made.

    Give ``staging`` as a ``MadeFolder`` if the folder that holds it might belong to another user.

    Call ``extract_pack`` for each pack (tar), in any order, then ``finish``, then ``flush``, and in any case
    ``close``. ``files`` and ``bytes`` count what was written. With ``allow_set_id``, set-id bits and
    capabilities of files are restored. ``on_skip`` receives attributes that could not be restored. With
    ``contents_only``, ``extract_pack`` sets no attributes: ``take_over`` does so later as root. Raises
    ``IntegrityError`` if index and packs contradict each other, ``FilesError`` if a path cannot be written.
    After an error, remove the staging folder.
    """

    def __init__(
        self,
        staging: Path | MadeFolder,
        *,
        on_skip: OnSkip,
        allow_set_id: bool = False,
        contents_only: bool = False,
    ) -> None:
        self.files = 0
        self.bytes = 0
        self._contents_only = contents_only
        self._metadata = Metadata(allow_set_id=allow_set_id, on_skip=on_skip)
        made = staging if isinstance(staging, MadeFolder) else MadeFolder(staging, staging.parent)
        try:
            self._staging = made.open()
        except OSError as error:
            raise FilesError(
                f"The staging folder {made.path} cannot be opened: {error.strerror}.",
                unchanged="The live tree was not changed.",
                hint="Check that this user may open it and that no program removes it, then restore again.",
            ) from error
        self._folders = Folders(self._staging, self._metadata.apply)
        self._last = -1  # descriptor of the last file: its mode may not allow to open it again

    @property
    def owners_left(self) -> int:
        """The number of files, folders and symlinks whose owner is not the recorded one."""
        return self._metadata.owners_left

    def close(self) -> None:
        """Close the descriptors of the staging folder, of the folders in it, and of the last file."""
        self._close_last()
        self._folders.close()
        os.close(self._staging)

    def extract_pack(self, blocks: Views, records: Iterable[Record]) -> None:
        """Write the files of one pack (tar).

        ``records`` are the index records that name this pack, in the order of their paths in the pack. Raises
        the errors of ``check.read_pack``, and ``FilesError`` if a file cannot be written.
        """
        written: Record | None = None

        def write(member: Member, record: Record) -> IntegrityError | None:
            nonlocal written
            if written is record:  # the second member of a file that changed while it was backed up
                self._remove(record)
                return self._write(member, record)
            error = self._write(member, record)
            written = record
            self.files += 1
            return error

        read_pack(blocks, records, write, lambda first, other: self._copy(other))
        self._close_last()
        self._folders.leave_all()

    def take_over(self, records: Iterable[Record], uid: int) -> None:
        """Set owner, mode, attributes and time of files that a process of the user ``uid`` has written.

        ``records`` are those of one pack. A process of that user may still be able to change names in the
        folders. So only regular files that belong to the user, and have no other name, are given away. Raises
        ``IntegrityError`` for anything else in the place of a file, and ``FilesError``.
        """
        for record in records:
            folder, name = self._folders.reach(record.path)
            try:
                fd = os.open(name, _WRITTEN, dir_fd=folder)
            except OSError as error:
                raise refused(record.path, error) from error
            try:
                found = os.fstat(fd)
                regular = stat.S_ISREG(found.st_mode)
                if (regular, found.st_nlink, found.st_uid, found.st_size) != (True, 1, uid, record.size):
                    raise _contradicted(record, "is not the file that was written to the staging folder")
                self._metadata.apply(fd, record)
            except OSError as error:
                raise refused(record.path, error) from error
            finally:
                os.close(fd)
        self._folders.leave_all()

    def finish(self, records: Iterable[Record]) -> None:
        """Make folders, symlinks and hard links; set the metadata of each folder after making its contents.

        ``records`` are index records; those of regular files may be left out. Raises ``IntegrityError`` if
        they include a file that was not extracted. The record of the root is not applied: the staging folder
        stays private, and ``swap`` sets the metadata of the root.
        """
        for record in records:
            if record.path:
                self._complete(record)
        self._folders.leave_all()

    def flush(self) -> None:
        """Flush all files to the disk. Raises ``FilesError``."""
        try:
            sync_filesystem(self._staging)
        except OSError as error:
            raise refused(b"", error) from error

    def _remove(self, record: Record) -> None:
        folder, name = self._folders.reach(record.path)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)

    def _write(self, member: Member, record: Record) -> IntegrityError | None:
        """Write one file of a pack; return the error if it is not the file that the record describes."""
        self._close_last()
        if member.size != record.size:
            return _contradicted(record, "has another size in its pack than in the index")
        self._last = fd = self._create(record)
        digest = hashlib.sha256()
        file = SparseFile(fd)
        for piece in member.contents:
            digest.update(piece)
            try:
                file.write(piece)
            except OSError as error:
                raise refused(record.path, error) from error
            self.bytes += len(piece)
        if digest.hexdigest() != record.sha256:
            return _contradicted(record, "is not what was backed up: its SHA-256 is wrong")
        self._end(file, fd, record)
        return None

    def _copy(self, record: Record) -> None:
        """Write a file that has the contents of the last one that was written."""
        fd = self._create(record)
        try:
            file = SparseFile(fd)
            for at in range(0, record.size, BLOCK):
                try:
                    file.write(memoryview(read_at(self._last, at, min(BLOCK, record.size - at))))
                except OSError as error:
                    raise refused(record.path, error) from error
            self.files += 1
            self.bytes += record.size
            self._end(file, fd, record)
        finally:
            os.close(fd)

    def _create(self, record: Record) -> int:
        folder, name = self._folders.reach(record.path)
        try:
            return os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
        except OSError as error:
            raise refused(record.path, error) from error

    def _end(self, file: SparseFile, fd: int, record: Record) -> None:
        try:
            file.end()
            if not self._contents_only:
                self._metadata.apply_to_new(fd, record)
        except OSError as error:
            raise refused(record.path, error) from error

    def _close_last(self) -> None:
        if self._last >= 0:
            os.close(self._last)
            self._last = -1

    def _complete(self, record: Record) -> None:
        try:
            if record.kind == "dir":
                self._folders.enter(record.path, record)
                return
            folder, name = self._folders.reach(record.path)
            if record.kind == "symlink":
                os.symlink(record.target, name, dir_fd=folder)
                self._metadata.apply_to_symlink(name, folder, record)
            elif record.kind == "hardlink":
                self._link(record, name, folder)
            else:
                status = os.lstat(name, dir_fd=folder)
                if not stat.S_ISREG(status.st_mode) or status.st_size != record.size:
                    raise _contradicted(record, "is not the file that its pack held")
        except FileNotFoundError as error:
            raise _contradicted(record, "is in the index and in none of the packs") from error
        except OSError as error:
            raise refused(record.path, error) from error

    def _link(self, record: Record, name: bytes, folder: int) -> None:
        *parents, first = record.target.split(b"/")
        # O_PATH: this user may no longer be allowed to read a folder whose mode is set.
        fd = os.open(b".", os.O_PATH, dir_fd=self._staging)
        try:
            for parent in parents:
                below = os.open(parent, FOLDER | os.O_PATH, dir_fd=fd)
                os.close(fd)
                fd = below
            if not stat.S_ISREG(os.lstat(first, dir_fd=fd).st_mode):
                raise _contradicted(record, "is a hard link to something other than a file")
            os.link(first, name, src_dir_fd=fd, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(fd)


def _contradicted(record: Record, how: str) -> IntegrityError:
    return damaged(f"{escape(record.path)!r} {how}.")
