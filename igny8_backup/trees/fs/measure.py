"""Count the files in a folder and their bytes, to show what is about to be replaced or deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.trees.model.names import is_own

LIMIT = 1_000_000
"""Counting stops after so many files and folders: nobody waits minutes for a number."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The number of ``files`` in a folder, and their size in ``bytes``.

    If ``more`` is true, counting stopped early and the folder holds more. ``empty``: no entry was found, not
    even a folder.
    """

    files: int
    bytes: int
    empty: bool
    more: bool = False


def measure(folder: Path, *, limit: int = LIMIT) -> Measured | None:
    """Count the files below ``folder`` and their bytes; return None if there is no such folder.

    Counting stops after about ``limit`` files and folders. Not counted are entries directly in ``folder``
    whose names look like those of this package (``names.is_own``), and the contents of folders that cannot be
    read. Links count as files and are not followed.
    """
    files = size = seen = 0
    top = os.fsencode(folder)
    if not os.path.isdir(top):
        return None
    pending = [top]
    while pending and seen < limit:
        current = pending.pop()
        for entry in _entries(current):
            if current == top and is_own(entry.name):
                continue
            seen += 1
            with suppress(OSError):  # it was removed meanwhile
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return Measured(files=files, bytes=size, empty=not seen, more=bool(pending))


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    with suppress(OSError), os.scandir(folder) as found:
        yield from found
