"""A small filesystem in memory, to test full disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import unavailable


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Create ``folder`` and mount a filesystem of ``size`` bytes on it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        unavailable("Mounting a small filesystem takes root and the right to mount.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the disk of ``folder`` except for ``leave`` bytes; return the file that fills it."""
    filler = folder / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with open(filler, "wb") as file:
        file.write(bytes(max(free - leave, 0)))
    return filler
