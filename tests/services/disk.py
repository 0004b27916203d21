"""A small filesystem in memory, to test full disks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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


@contextmanager
def limited_subvolume(folder: Path, limit: int) -> Iterator[Path]:
    """Mount a btrfs file system on ``folder``; yield a subvolume in it whose quota is ``limit`` bytes.

    The file system itself has more room, and ``statvfs`` does not know the quota.
    """
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("A subvolume with a quota takes root, btrfs-progs and the right to mount.")
    folder.mkdir()
    image, subvolume = folder.with_suffix(".img"), folder / "limited"
    with open(image, "wb") as file:
        file.truncate(160 << 20)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True).returncode:
        pytest.skip("btrfs cannot be mounted here.")
    try:
        subprocess.run(["btrfs", "quota", "enable", str(folder)], check=True)
        subprocess.run(["btrfs", "subvolume", "create", str(subvolume)], check=True, capture_output=True)
        subprocess.run(["btrfs", "qgroup", "limit", str(limit), str(subvolume)], check=True)
        yield subvolume
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        image.unlink()


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the disk of ``folder`` except for ``leave`` bytes; return the file that fills it."""
    filler = folder / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with open(filler, "wb") as file:
        file.write(bytes(max(free - leave, 0)))
    return filler
