"""Let another user write the files of a tree, so that what parses the archives has few rights.

The extract workers run as this user. They own the staging folder while they write into it. They reach this
folder, and the records of the index, only by descriptors that they inherit. When they have ended, root takes
the files over and gives them their owners (``TreeWriter.take_over``). Entry point: ``handed_over``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.streams.account import Account
from igny8_backup.trees.extract.partition import files_of
from igny8_backup.trees.fs.safe_dirs import FOLDER, MadeFolder


@dataclass(frozen=True)
class Handover:
    """A user who writes a tree, and descriptors of the staging folder and of the folder of the records."""

    account: Account
    staging: int
    records: int

    @property
    def fds(self) -> tuple[int, int]:
        """The descriptors that the workers inherit."""
        return self.staging, self.records

    def share_records(self, names: Iterable[str]) -> None:
        """Let the group of the user read the records of the packs ``names``, but not write.

        Root reads these files again later, so nobody else may change them.
        """
        written = set(os.listdir(self.records))
        for name in (file for pack in names for file in files_of(pack) if file in written):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.records)
            try:
                os.fchown(fd, -1, self.account.gid)
                os.fchmod(fd, 0o640)
            finally:
                os.close(fd)


@contextmanager
def handed_over(account: Account, staging: MadeFolder, records: Path) -> Iterator[Handover]:
    """Give the folder ``staging`` to the user ``account`` during the ``with`` block; yield descriptors.

    ``records`` is the private folder of a ``Partition``. Raises ``FilesError`` if a folder cannot be
    opened or given away.
    """
    fds: list[int] = []
    try:
        try:
            fds = [staging.open()]
            fds.append(os.open(records, FOLDER))
            before = os.fstat(fds[0])
            os.fchown(fds[1], -1, account.gid)
            os.fchmod(fds[1], 0o710)
            os.fchown(fds[0], account.uid, account.gid)
            if os.fstat(fds[0]).st_uid != account.uid:  # some mounts, such as vfat with "quiet", ignore it
                raise OSError(errno.EPERM, "the file system keeps its owner")
        except OSError as error:
            raise FilesError(
                f"The user {account.name} (RESTORE_USER) cannot be given {staging.path}: {error.strerror}.",
                unchanged="The live tree was not changed.",
                hint="Remove RESTORE_USER from the settings, or let the command run on a file system on which"
                " root may change owners.",
            ) from error
        try:
            yield Handover(account, *fds)
        finally:
            os.fchown(fds[0], before.st_uid, before.st_gid)
            os.fchmod(fds[0], stat.S_IMODE(before.st_mode))
    finally:
        for fd in fds:
            os.close(fd)
