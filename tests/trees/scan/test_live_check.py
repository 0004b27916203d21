"""A live tree, compared with records of a backup."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.operations.spot_check.judge import ALTERED, Tolerances, judge_tree
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.scan.live_check import LiveCheck, check_live, find_old_files

FUTURE = 1 << 62
OWNER: dict[str, Any] = {"uid": 0, "gid": 0, "user": "", "group": ""}


def record(root: Path, name: str, **changes: Any) -> Record:
    found = os.lstat(root / name)
    values = {
        "mode": 0o644,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "inode": found.st_ino,
        "sha256": hashlib.sha256((root / name).read_bytes()).hexdigest(),
        **changes,
    }
    return Record(path=name.encode(), kind="file", **OWNER, **values)


def checked(root: Path, *records: Record, **options: Any) -> LiveCheck:
    given: dict[str, Any] = {"started_ns": FUTURE, "sample": 10, "hashed": 10, "seed": 1, **options}
    old_files = find_old_files(root, started_ns=given["started_ns"], own=given.pop("own", ()))
    return check_live(root, records, old_files, **given)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    for name in ("a.txt", "b.txt", "below/c.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_check_live_counts_files_by_what_happened_to_them(root: Path) -> None:
    same, changed = record(root, "a.txt"), record(root, "b.txt", mtime_ns=1)
    gone = same._replace(path=b"gone.txt")
    found = checked(root, same, changed, gone)
    assert (found.recorded, found.gone, found.changed, found.typed) == (3, 1, 1, 1)
    assert (found.hashed, found.altered) == (1, 0)
    # b.txt has changed since it was recorded, and below/c.txt was never recorded.
    assert (found.old, found.missing) == (3, 2)


def test_check_live_finds_other_contents_behind_the_same_times(root: Path) -> None:
    """As after the failure of a disk: a change through the file system would change a time."""
    found = checked(root, record(root, "a.txt", sha256="0" * 64), record(root, "b.txt"))
    assert (found.hashed, found.altered) == (2, 1)
    ((cause, text),) = judge_tree(found, Tolerances())
    assert cause == ALTERED and text.startswith("1 of 2 unchanged files")


def test_check_live_leaves_out_folders_of_restores_and_newer_files(root: Path) -> None:
    assert checked(root, own=(b"below",)).missing == 2
    assert checked(root, started_ns=1).old == 0


def test_check_live_samples_are_bounded(root: Path) -> None:
    records = [record(root, "b.txt", mtime_ns=number) for number in range(100)]
    records += [record(root, "a.txt") for _ in range(100)]
    found = checked(root, *records, sample=7, hashed=3)
    assert (found.changed, found.typed, found.hashed) == (100, 7, 3)


def test_check_live_opens_nothing_behind_a_symlink(root: Path) -> None:
    changed = record(root, "below/c.txt", mtime_ns=1)
    (root / "below").rename(root / "elsewhere")
    (root / "below").symlink_to(root / "elsewhere")
    assert checked(root, changed).typed == 0
    os.mkfifo(root / "pipe.txt")
    assert checked(root, changed._replace(path=b"pipe.txt")).typed == 0
