"""Write files that exist completely or not at all after a crash.

Write a ``PartialFile``, and let ``give_name`` give it its final name.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from igny8_backup.common.filesystem import LINKS_UNSUPPORTED, sync, sync_folder, write_all

ATTEMPTS = 100
"""The number of attempts to create a file in a folder that other runs remove whenever it is empty."""


def new_partial(final: Path) -> tuple[int, Path]:
    """Create an empty temporary file (mode 0600) in the folder of ``final``, and that folder if missing.

    Return the descriptor of the file, opened for writing, and its path. Raises ``OSError``.
    """
    partial = final.with_name(f"{final.name}.{secrets.token_hex(4)}.partial")
    attempt = 0
    while True:
        attempt += 1
        try:
            make_folders(final.parent)
            return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), partial
        except FileNotFoundError:  # another run has removed the folder, because it was empty
            if attempt == ATTEMPTS:
                raise


class PartialFile:
    """A temporary file, which later gets the name ``final``. Its methods raise ``OSError``.

    After a failure the next call opens the file again, because the old descriptor is useless if a file server
    has restarted or a folder was mounted again.
    """

    def __init__(self, final: Path) -> None:
        self._open, self.path = new_partial(final)
        self._status = os.fstat(self._open)

    def write(self, offset: int, data: memoryview) -> bool:
        """Write ``data`` at ``offset``, and return once it is on disk.

        The bytes before ``offset`` must have been written already. Returns False if the file has become
        shorter than ``offset``.
        """
        try:
            if self._open < 0:
                self._open = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW)
                self._status = os.fstat(self._open)
                if self._status.st_size < offset:
                    return False
            os.lseek(self._open, offset, os.SEEK_SET)
            write_all(self._open, data)
            sync(self._open)
        except OSError:
            self._close()
            raise
        _forget(self._open, offset, len(data))
        return True

    def is_named(self, final: Path) -> bool:
        """Return whether this file has the name ``final``."""
        try:
            return os.path.samestat(self._status, os.lstat(final))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Close the file, and remove its temporary name if that still exists."""
        self._close()
        with suppress(OSError):  # renamed, or the disk is gone
            self.path.unlink()

    def _close(self) -> None:
        descriptor, self._open = self._open, -1
        if descriptor >= 0:
            with suppress(OSError):  # it was reported by sync, or is about to be
                os.close(descriptor)


def _forget(descriptor: int, start: int, size: int) -> None:
    """Let the kernel drop bytes from the page cache once they are on disk: other programs need the memory.

    Source: posix_fadvise(2).
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def give_name(partial: Path, final: Path) -> None:
    """Give the file ``partial`` also the name ``final``, or rename it if hard links are not supported.

    Raises ``FileExistsError`` if ``final`` exists, ``OSError`` for other failures.
    """
    try:
        os.link(partial, final)
    except OSError as error:
        if error.errno not in LINKS_UNSUPPORTED:
            raise
        give_name_without_links(partial, final)


def give_name_without_links(partial: Path, final: Path) -> None:
    """Rename ``partial`` to ``final`` where hard links are not supported.

    The arguments and errors are those of ``give_name``.

    A rename would overwrite an existing file, so an empty file reserves the name first.
    """
    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    partial.replace(final)


def make_folders(folder: Path) -> None:
    """Create ``folder`` and its missing parents with mode 0700, durably. Raises ``OSError``."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
