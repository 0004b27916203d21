"""Somebody else owns the tree and replaces a folder of the restore: nothing is written elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.safe_dirs import MadeFolder
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.swap.target import SwapTarget

STAMP = "20261122T021500Z"
RECORD = Record(
    path=b"", kind="dir", mode=0o777, uid=0, gid=0, user="root", group="root",
    size=0, mtime_ns=1, ctime_ns=1, inode=1,
)  # fmt: skip


def never(path: bytes, reason: str) -> None:
    raise AssertionError((path, reason))


def with_symlink(staging: Path, elsewhere: Path) -> None:
    staging.symlink_to(elsewhere)


def with_folder(staging: Path, elsewhere: Path) -> None:
    (staging / "site").mkdir(parents=True)


@pytest.fixture(params=[False, True], ids=["children", "root"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> SwapTarget:
    root = tmp_path / "user" / "site"
    root.mkdir(parents=True)
    return SwapTarget(root=root, stamp=STAMP, swap_root=request.param)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of the system, which has a folder of the same name as the tree."""
    folder = tmp_path / "elsewhere"
    (folder / "site").mkdir(parents=True)
    for path in (folder, folder / "site"):
        path.chmod(0o751)
        os.utime(path, ns=(10**9, 10**9))
    return folder


def assert_untouched(elsewhere: Path) -> None:
    for path in (elsewhere, elsewhere / "site"):
        status = path.stat()
        assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o751, 10**9), path
    assert [path.name for path in elsewhere.rglob("*")] == ["site"]


@pytest.mark.parametrize("replace", [with_symlink, with_folder])
def test_staging_folder_replaced_before_it_is_written_is_refused(
    target: SwapTarget, elsewhere: Path, replace: Callable[[Path, Path], None]
) -> None:
    made = target.make()
    target.staging.rename(target.folder / "moved away")
    replace(target.staging, elsewhere)
    with pytest.raises(FilesError, match="cannot be opened"):
        TreeWriter(made, on_skip=never)
    assert_untouched(elsewhere)


def test_new_root_replaced_before_the_swap_is_planned_is_refused(target: SwapTarget, elsewhere: Path) -> None:
    target.make()
    target.staging.rename(target.folder / "moved away")
    target.staging.symlink_to(elsewhere)
    with pytest.raises(FilesError):
        target.plan(RECORD, never)
    assert_untouched(elsewhere)


def test_made_folder_opens_what_was_made(target: SwapTarget) -> None:
    made = target.make()
    fd = made.open()
    try:
        assert os.fstat(fd).st_ino == made.inode == made.path.stat().st_ino
    finally:
        os.close(fd)


def test_made_folder_leaves_no_descriptor_behind(target: SwapTarget, elsewhere: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        MadeFolder(target.folder / "missing", target.folder).open()
    assert os.listdir("/proc/self/fd") == before
