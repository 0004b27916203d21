"""The trees of ``benchmarks.cases``, the changes made to them, and what a restore must bring back."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.options import FULL, QUICK
from benchmarks.sites_data import content_of, name_of
from benchmarks.texts import Prose, generator

SITES = {QUICK: 600, FULL: 120_000}
EMPTY = {QUICK: 3000, FULL: 1_000_000}
CHAINS = {QUICK: 2, FULL: 200}
LARGE = {QUICK: 48 << 20, FULL: 16 << 30}
LOG = {QUICK: 48 << 20, FULL: 139 * 10**6}
DEPTH = 200
_MTIME = 1_600_000_000
_FILES_A_FOLDER = 500
_FILES_A_SITE = 300
_PIECE = 1 << 20
_PLACES, _PAGE = 20, 4096

Found = dict[str, tuple[str, int, int]]
"""For each path: the SHA-256 of a file, the mode and, for a file, the time in seconds."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A tree to measure. ``changes`` are made one after the other, each before a backup of its own.

    Each change is called with the root and the number of the round. ``reading``: the extraction of one file
    and the verification of all contents are measured, too.
    """

    key: str
    title: str
    make: Callable[[Path, str], None]
    changes: tuple[tuple[str, Callable[[Path, int], None]], ...] = ()
    reading: bool = False


def look(root: Path) -> Found:
    """Return everything below ``root`` that is compared after a restore."""
    found: Found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            digest, seconds = "", 0
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                seconds = status.st_mtime_ns // 10**9
            found[os.path.relpath(path, root)] = digest, status.st_mode, seconds
    return found


def _make_sites(root: Path, scale: str) -> None:
    prose = Prose()
    for number in range(SITES[scale]):
        name = name_of(number, number // _FILES_A_SITE)
        _write(root / name, content_of(name, prose))


def _make_empty(root: Path, scale: str) -> None:
    for number in range(EMPTY[scale]):
        _write(root / f"{number // _FILES_A_FOLDER:05}" / f"{number:07}", b"")


def _make_deep(root: Path, scale: str) -> None:
    for chain in range(CHAINS[scale]):
        folder = root / f"chain-{chain:03}"
        for level in range(DEPTH):
            folder /= f"{level:03}"
            _write(folder / "file", b"%d %d" % (chain, level))


def _make_large(sizes: dict[str, int], root: Path, scale: str) -> None:
    _append(root / "large.log", sizes[scale], 0)


def _touch(root: Path, number: int) -> None:
    for path in _files(root):
        os.utime(path, (_MTIME + number, _MTIME + number))


def _chmod(root: Path, number: int) -> None:
    for path in _files(root):
        path.chmod(0o640 if number % 2 else 0o644)


def _rename(root: Path, number: int) -> None:
    for path in sorted(root.iterdir()):
        path.rename(path.with_name(f"{path.name.partition('@')[0]}@{number}"))


def _grow(root: Path, number: int) -> None:
    path = root / "large.log"
    _append(path, path.stat().st_size // 32, number)


def _edit(root: Path, number: int) -> None:
    """Change twenty places of a large file, as a database in a file does."""
    choose = generator("places", number)
    with (root / "large.log").open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        for _ in range(_PLACES):
            file.seek(choose.randrange(size // _PAGE) * _PAGE)
            file.write(choose.randbytes(_PAGE))


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (_MTIME, _MTIME))


def _append(path: Path, size: int, number: int) -> None:
    """Append bytes of which half compress well."""
    choose = generator("large file", number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for _ in range(max(1, size // _PIECE)):
            file.write(choose.randbytes(_PIECE // 2) + b"GET /index.html 200\n" * (_PIECE // 40))


CASES = (
    Case(
        key="sites",
        title="A tree of published sites",
        make=_make_sites,
        changes=(
            ("All times touched, contents the same", _touch),
            ("Only modes changed", _chmod),
            ("Folders renamed", _rename),
        ),
        reading=True,
    ),
    Case(
        key="large",
        title="One large file",
        make=partial(_make_large, LARGE),
        changes=(
            ("One large file, touched", _touch),
            ("One large file that grew by 3 %", _grow),
            ("One large file, renamed", _rename),  # the last change: the others need its name
        ),
    ),
    Case(
        key="log",
        title="A log of 139 MB",
        make=partial(_make_large, LOG),
        changes=(
            ("A log of 139 MB that grew by 3 %", _grow),
            ("A file of 139 MB changed in 20 places", _edit),
        ),
    ),
    Case(
        key="empty", title="Many empty files", make=_make_empty, changes=(("Empty files, touched", _touch),)
    ),
    Case(key="deep", title=f"A tree {DEPTH} folders deep", make=_make_deep),
)
