"""Files that are there whole or not at all, whatever crashes: written beside, forced to disk, then named."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

# Filesystems without hard links (FAT, exFAT, some network and user-space ones) answer one of these.
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def new_partial(final: Path) -> tuple[int, Path]:
    """A new file (0600) beside ``final``, in folders made as needed; its descriptor and path.

    Raises OSError.
    """
    make_folders(final.parent)
    partial = final.with_name(f"{final.name}.{secrets.token_hex(4)}.partial")
    return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), partial


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; a plain ``os.write`` may write fewer. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def begin_to_disk(descriptor: int, start: int, size: int) -> None:
    """Let the kernel begin to write these bytes to disk, without waiting for it (posix_fadvise(2)).

    Otherwise it may not begin before ``fsync``, during which the stream would stand still.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def give_name(partial: Path, final: Path) -> None:
    """Let ``final`` name the file too or instead; FileExistsError if that name is taken, else OSError."""
    try:
        os.link(partial, final)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        give_name_without_links(partial, final)


def give_name_without_links(partial: Path, final: Path) -> None:
    """As ``give_name``: an empty file reserves the name first, because a rename would replace silently."""
    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    partial.replace(final)


def make_folders(folder: Path) -> None:
    """Make what is missing of a path, 0700, each forced to disk in the folder above. Raises OSError."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk, where the filesystem can. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network and user-space filesystems cannot
            raise
    finally:
        os.close(descriptor)
