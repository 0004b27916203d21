"""Write files that exist completely or not at all after a crash.

Create a file with ``new_partial``, write it, call fsync, and let ``give_name`` give it its final name.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from igny8_backup.filesystem import LINKS_UNSUPPORTED, sync_folder


def new_partial(final: Path) -> tuple[int, Path]:
    """Create an empty temporary file (mode 0600) in the folder of ``final``, and that folder if missing.

    Return the descriptor of the file, opened for writing, and its path. Raises ``OSError``.
    """
    make_folders(final.parent)
    partial = final.with_name(f"{final.name}.{secrets.token_hex(4)}.partial")
    return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), partial


def begin_to_disk(descriptor: int, start: int, size: int) -> None:
    """Let the kernel start writing ``size`` bytes from ``start`` to disk, without waiting for it.

    Otherwise the kernel might start only at ``fsync``, which would then wait for the complete file. Source:
    posix_fadvise(2).
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
    """Rename ``partial`` to ``final`` where hard links do not exist; arguments and errors as ``give_name``.

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
