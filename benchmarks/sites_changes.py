"""Change a tree of files between backups: change, add and delete files, and restore the tree at the end.

The changes depend only on the seed. Original files are moved away and moved back at the end, with their
contents, times and inodes, so that the next run starts with the same tree. The leftovers of a killed run are
restored too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.sites_data import content_of, name_of
from benchmarks.texts import Prose, generator

CHANGED, NEW, GONE = 100, 200, 500
"""One file in this many: 1 %, 0.5 % and 0.2 %."""
SETTLED = 3.0
"""Seconds after which programs trust that a file no longer changes."""


class Nights:
    """Changes the tree below ``root``, and the expected digests in ``wanted`` with it."""

    def __init__(self, root: Path, wanted: dict[str, str], settled: float = SETTLED) -> None:
        self._root = root
        self._aside = _aside(root)
        self._settled = settled
        self._wanted = wanted
        self._originals = frozenset(wanted)
        self._next = len(wanted)  # a number that no file has
        self._prose = Prose()
        self._aside.mkdir()

    def work(self, night: int) -> None:
        """Make the changes of the night with this number; return when programs trust the result."""
        choose = generator("night", night)
        names = sorted(self._wanted)
        changed, gone = _share(names, CHANGED), _share(names, GONE)
        picked = choose.sample(names, changed + gone)
        sites = sorted({name.partition("/")[0] for name in names})
        for name in picked:
            self._remove(name)
        for name in picked[:changed]:
            self._write(name, night)
        for _ in range(_share(names, NEW)):
            self._write(name_of(self._next, int(choose.choice(sites).rpartition("-")[2])), night)
            self._next += 1
        time.sleep(self._settled)

    def _remove(self, name: str) -> None:
        kept = self._aside / name
        if name in self._originals and not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            (self._root / name).rename(kept)
        else:
            (self._root / name).unlink()
        del self._wanted[name]

    def _write(self, name: str, night: int) -> None:
        path, content = self._root / name, content_of(name, self._prose, night)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._wanted[name] = hashlib.sha256(content).hexdigest()


@contextmanager
def nights(root: Path, wanted: dict[str, str], settled: float = SETTLED) -> Iterator[Nights]:
    """Yield the changes of the tree, and restore the tree at the end."""
    originals = dict(wanted)
    try:
        yield Nights(root, wanted, settled)
    finally:
        put_back(root, originals)
        wanted.clear()
        wanted.update(originals)


def put_back(root: Path, originals: Collection[str]) -> None:
    """Restore the tree if it was changed; ``originals`` are its original names."""
    aside = _aside(root)
    if not aside.is_dir():
        return
    for path in [path for path in aside.rglob("*") if path.is_file()]:
        path.rename(root / path.relative_to(aside))
    for path in [path for path in root.rglob("*") if path.is_file()]:
        if str(path.relative_to(root)) not in originals:
            path.unlink()
            _remove_empty(path.parent)
    shutil.rmtree(aside)


def _aside(root: Path) -> Path:
    return root.with_name(f"{root.name}.before")


def _remove_empty(folder: Path) -> None:
    while not os.listdir(folder):
        folder.rmdir()
        folder = folder.parent


def _share(names: Collection[str], of: int) -> int:
    return max(1, len(names) // of)
