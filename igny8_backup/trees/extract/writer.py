"""A tree written again, in a private folder beside the live one.

Nothing is written through a symlink and nothing outside the side folder, whatever an index or a
pack says: each folder on the way is opened relative to the one above, with ``O_NOFOLLOW``, and each
file is new (``O_EXCL``).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.streams import Views
from igny8_backup.trees.fs.linux import sync_filesystem
from igny8_backup.trees.fs.metadata import Metadata
from igny8_backup.trees.fs.safe_dirs import FOLDER, Folders, refused
from igny8_backup.trees.fs.sparse import SparseFile
from igny8_backup.trees.model.names import escape, order
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.tar.format import Member, read_tar

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class TreeWriter:
    """Writes a tree into ``side``, a folder that is private, empty and ours.

    First ``extract_pack`` for each pack, in any order, then ``finish``, then ``flush``. ``files``
    and ``bytes`` count what was written, ``owners_left`` the things that kept this user as their
    owner. ``allow_set_id`` lets set-id bits and capabilities of files come back. ``on_skip`` is told
    of what could not come back as it was; what cannot come back at all is an error:
    ``IntegrityError`` where index and packs contradict each other, ``FilesError`` where the disk
    refuses. After an error the side is to be removed.
    """

    def __init__(
        self,
        side: Path,
        *,
        on_skip: OnSkip,
        on_progress: Callable[[int, int], None] | None = None,
        allow_set_id: bool = False,
    ) -> None:
        self.files = 0
        self.bytes = 0
        self._on_progress = on_progress
        self._metadata = Metadata(allow_set_id=allow_set_id, on_skip=on_skip)
        try:
            self._side = os.open(side, FOLDER)
        except OSError as error:
            raise FilesError(f"The folder {side} cannot be opened: {error.strerror}.") from error
        self._folders = Folders(self._side, self._metadata.apply)

    @property
    def owners_left(self) -> int:
        return self._metadata.owners_left

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the descriptors."""
        self._folders.close()
        os.close(self._side)

    def extract_pack(self, blocks: Views, records: Iterable[Record]) -> None:
        """Write the files of one pack. ``records`` are those that the index places in it, in order.

        A member without a record is dead and passed over; a record without a member, or whose size
        or digest differs, is an ``IntegrityError``.
        """
        wanted = iter(records)
        record = next(wanted, None)
        written: Record | None = None
        wrong: IntegrityError | None = None
        with closing(blocks):
            for member in read_tar(blocks):
                if written is not None and member.path == written.path:
                    # Of a file that changed while it was read there are two copies, of which the last counts.
                    self._remove(written)
                    wrong = self._write(member, written)
                    continue
                if wrong is not None:
                    break
                if record is None or order(member.path) < order(record.path):
                    continue
                if member.path != record.path:
                    break
                wrong = self._write(member, record)
                self.files += 1
                self._tell()
                written, record = record, next(wanted, None)
        if wrong is not None:
            raise wrong
        if record is not None:
            raise IntegrityError(f"The pack {record.pack} lacks the file {escape(record.path)!r}.")
        self._folders.leave_all()

    def finish(self, records: Iterable[Record]) -> None:
        """Complete the tree: folders, symlinks, hard links; a folder's metadata comes after its contents.

        ``records`` are all of the index, or all but those of files that were extracted already: each one
        that is named must be there. The root's own record is not applied: the side stays private, and
        ``swap`` gives the root what it needs.
        """
        for record in records:
            if record.path:
                self._complete(record)
        self._folders.leave_all()

    def flush(self) -> None:
        """Have all that was written on the disk."""
        try:
            sync_filesystem(self._side)
        except OSError as error:
            raise refused(b"", error) from error

    def _remove(self, record: Record) -> None:
        folder, name = self._folders.reach(record.path)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)

    def _write(self, member: Member, record: Record) -> IntegrityError | None:
        """What is wrong with this copy of the file, if it is not what the record says."""
        if member.size != record.size:
            return _contradicted(record, "has another size in its pack than in the index")
        folder, name = self._folders.reach(record.path)
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
        except OSError as error:
            raise refused(record.path, error) from error
        try:
            digest = hashlib.sha256()
            file = SparseFile(fd)
            for piece in member.contents:
                digest.update(piece)
                try:
                    file.write(piece)
                except OSError as error:
                    raise refused(record.path, error) from error
                self.bytes += len(piece)
                self._tell()
            if digest.hexdigest() != record.sha256:
                return _contradicted(record, "is not what was backed up: its SHA-256 is wrong")
            try:
                file.end()
                self._metadata.apply_to_new(fd, record)
            except OSError as error:
                raise refused(record.path, error) from error
        finally:
            os.close(fd)
        return None

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
            raise _contradicted(record, "came with none of the packs") from error
        except OSError as error:
            raise refused(record.path, error) from error

    def _link(self, record: Record, name: bytes, folder: int) -> None:
        *parents, first = record.target.split(b"/")
        # O_PATH: a folder that is finished may no longer be readable for us.
        fd = os.open(b".", os.O_PATH, dir_fd=self._side)
        try:
            for parent in parents:
                below = os.open(parent, FOLDER | os.O_PATH, dir_fd=fd)
                os.close(fd)
                fd = below
            if not stat.S_ISREG(os.lstat(first, dir_fd=fd).st_mode):
                raise _contradicted(record, "is a hard link to something else than a file")
            os.link(first, name, src_dir_fd=fd, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(fd)

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.files, self.bytes)


def _contradicted(record: Record, how: str) -> IntegrityError:
    return IntegrityError(
        f"{escape(record.path)!r} {how}.",
        unchanged="The live tree is as it was.",
        hint="Restore another backup, and verify this one.",
    )
