"""Count the files of a live tree that backups exclude.

A restore replaces these files like all others, and no backup can bring them back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.trees.fs.left_alone import left_alone
from igny8_backup.trees.scan.excludes import CACHE_TAG, Excludes, is_cache_tag


@dataclass(frozen=True)
class Rules:
    """Rules that exclude paths: patterns (``Excludes``), and whether to exclude caches (``CACHEDIR.TAG``)."""

    patterns: tuple[str, ...] = ()
    caches: bool = False


def count_excluded(root: Path, rules: Collection[Rules], own: Collection[bytes] = ()) -> tuple[int, int]:
    """Return the number of files in the live tree ``root`` that ``rules`` exclude, and their bytes.

    A file counts if at least one rule excludes it. ``own`` are the names of folders in the root that hold
    data of restores. Files in these folders do not count, nor do files in folders that cannot be read or are
    too deep for the system. It does no harm if the tree changes meanwhile: the result is only shown in a
    note.
    """
    patterns = [Excludes(rule.patterns) for rule in rules if rule.patterns]
    caches = any(rule.caches for rule in rules)
    if not (patterns or caches):
        return 0, 0
    files = size = 0
    # Path (with its slash) and whether the folder is excluded, of the folders that are still to be read.
    waiting = [(b"", False)]
    while waiting:
        prefix, excluded = waiting.pop()
        entries = list(_entries(root, prefix, own))
        tagged = caches and bool(prefix) and not excluded and _is_tagged(root, prefix, entries)
        for entry, mode, length in entries:
            path = prefix + entry
            is_folder = stat.S_ISDIR(mode)
            out = (
                excluded or (tagged and entry != CACHE_TAG) or any(rule(path, is_folder) for rule in patterns)
            )
            if is_folder:
                waiting.append((path + b"/", out))
            elif out and stat.S_ISREG(mode):
                files += 1
                size += length
    return files, size


def _entries(root: Path, prefix: bytes, own: Collection[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, mode and size of each entry of the folder ``prefix`` of the tree.

    Entries that all backups ignore (``left_alone``) are left out. If the folder cannot be read, there are no
    entries.
    """
    try:
        fd = os.open(_path(root, prefix), os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if prefix else 0))
    except OSError:
        return
    try:
        names = list(map(os.fsencode, os.listdir(fd)))
        alone = {} if prefix else left_alone(fd, names, own)
        for name in names:
            if name not in alone:
                try:
                    status = os.lstat(name, dir_fd=fd)
                except OSError:
                    continue
                yield name, status.st_mode, status.st_size
    except OSError:
        return
    finally:
        os.close(fd)


def _is_tagged(root: Path, prefix: bytes, entries: Collection[tuple[bytes, int, int]]) -> bool:
    if all(name != CACHE_TAG for name, _, _ in entries):
        return False
    try:
        fd = os.open(_path(root, prefix), os.O_RDONLY | os.O_DIRECTORY)
        try:
            return is_cache_tag(CACHE_TAG, fd)
        finally:
            os.close(fd)
    except OSError:
        return False


def _path(root: Path, prefix: bytes) -> bytes:
    return os.path.join(os.fsencode(root), prefix)
