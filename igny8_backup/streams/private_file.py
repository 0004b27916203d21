"""Temporary files that no other user can open and that leave nothing behind, on a disk or in memory."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from igny8_backup.common.filesystem import write_all
from igny8_backup.errors import FilesError
from igny8_backup.streams.account import Account


@contextmanager
def private_file(
    folder: Path, content: bytes = b"", *, owner: Account | None = None
) -> Iterator[tuple[BinaryIO, str]]:
    """Create a file of mode 0600 with ``content`` in ``folder``; yield it and a path to open it again.

    A child process that inherits the file's descriptor (``pass_fds``) can open the file by this path. The
    file belongs to ``owner``, the user that the child process runs as, or else to the user of this process.
    On Linux the file has no name, so that nothing is left of it even after ``kill -9``. Raises
    ``FilesError``.
    """
    unnamed = sys.platform == "linux"
    create: Callable[..., Any] = tempfile.TemporaryFile if unnamed else tempfile.NamedTemporaryFile
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        created = create(dir=folder, prefix="igny8_backup-")
    except OSError as error:
        raise FilesError(
            f"No private file could be created in {folder}: {error.strerror}.",
            unchanged="Nothing live was changed.",
            hint="Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder that this user can write to.",
        ) from None
    with created as file:
        try:
            write_all(file.fileno(), content)
            if owner:
                os.fchown(file.fileno(), owner.uid, owner.gid)
        except OSError as error:
            raise FilesError(
                f"A private file could not be written in {folder}: {error.strerror}.",
                unchanged="Nothing live was changed.",
                hint="Free some space there, or set IGNY8_BACKUP['SCRATCH_DIR'] to a folder on a larger"
                " disk.",
            ) from None
        yield file, f"/proc/self/fd/{file.fileno()}" if unnamed else file.name


@contextmanager
def memory_file(
    content: Iterable[bytes], folder: Path, *, owner: Account | None = None
) -> Iterator[tuple[int, str]]:
    """Create a file with ``content`` that is on no disk; yield its descriptor and a path to open it again.

    A child process that inherits the descriptor (``pass_fds``) can open the file by this path. Where the
    system has or allows no such files (``memfd_create``), the file is a :func:`private_file` in ``folder``.
    Raises ``FilesError``.
    """
    try:
        fd = os.memfd_create("igny8_backup")
    except (AttributeError, OSError):  # the kernel can refuse them: vm.memfd_noexec in sysctl(8), seccomp
        with private_file(folder, b"".join(content), owner=owner) as (file, path):
            yield file.fileno(), path
        return
    try:
        try:
            for block in content:
                write_all(fd, block)
            os.fchmod(fd, 0o600)
            if owner:
                os.fchown(fd, owner.uid, owner.gid)
        except OSError as error:
            raise FilesError(
                f"A file in memory could not be written: {error.strerror}.",
                unchanged="Nothing live was changed.",
                hint="Free some memory, or set IGNY8_BACKUP['JOBS'] to 1.",
            ) from None
        yield fd, f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
