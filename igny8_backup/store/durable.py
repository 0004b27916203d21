"""Write files that exist completely or not at all after a crash: write, fsync, then give the final name."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

# Errors of filesystems without hard links (FAT, exFAT, some network and user-space filesystems).
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def new_partial(final: Path) -> tuple[int, Path]:
    """Create a file of mode 0600 next to ``final``, and missing folders; return its descriptor and path.

    Raises ``OSError``.
    """
    make_folders(final.parent)
    partial = final.with_name(f"{final.name}.{secrets.token_hex(4)}.partial")
    return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), partial


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; a single ``os.write`` may write less. Raises ``OSError``."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def begin_to_disk(descriptor: int, start: int, size: int) -> None:
    """Let the kernel start writing these bytes to disk, without waiting (posix_fadvise(2)).

    Otherwise it might start only at ``fsync``, and the stream would wait for all of it.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def give_name(partial: Path, final: Path) -> None:
    """Give the file the name ``final``. Raises ``FileExistsError`` if that exists, or another ``OSError``."""
    try:
        os.link(partial, final)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        give_name_without_links(partial, final)


def give_name_without_links(partial: Path, final: Path) -> None:
    """Like ``give_name``. An empty file reserves the name first, because a rename would overwrite a file."""
    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    partial.replace(final)


def make_folders(folder: Path) -> None:
    """Create missing folders with mode 0700 and fsync the folders above them. Raises ``OSError``."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk (fsync), if the filesystem can. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network and user-space filesystems cannot
            raise
    finally:
        os.close(descriptor)
