"""Files whose contents the last backup holds under another path: they are hashed, not stored."""

from __future__ import annotations

import os
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive.hash_ahead import BATCH_FILES
from igny8_backup.trees.archive.hash_client import Hashers, Job
from igny8_backup.trees.index.contents import SMALLEST
from igny8_backup.trees.scan.scan_ahead import ScanAhead
from tests.trees.archive.test_incremental import new_packs
from tests.trees.archive.test_worker import job, read_and_report
from tests.trees.tools import Backup, look, restore_tree, take

pytestmark = pytest.mark.slow


def contents(number: int, size: int = 3000) -> bytes:
    return random.Random(number).randbytes(size)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with a folder of files, some of which are large, linked, sparse or have attributes."""
    root = tmp_path / "root"
    (root / "old" / "sub").mkdir(parents=True)
    for number, name in enumerate(["a", "b", "sub/c", "sub/%odd \n"]):
        (root / "old" / name).write_bytes(contents(number))
    (root / "old" / "large").write_bytes(contents(9, 2 * BLOCK + 5))
    (root / "old" / "linked").write_bytes(contents(8))
    os.link(root / "old" / "linked", root / "old" / "sub" / "linked")
    with open(root / "old" / "sparse", "wb") as file:
        file.truncate(3 * BLOCK)
        file.write(b"begin")
    os.setxattr(root / "old" / "a", "user.note", b"kept")
    (root / "stays").write_bytes(contents(10))
    return root


def assert_restores(backup: Backup, root: Path, tmp_path: Path) -> None:
    staging = tmp_path / f"staging-{len(list(tmp_path.iterdir()))}"
    assert restore_tree(backup, staging).skipped == []
    assert look(staging) == look(root)


@pytest.mark.parametrize("workers", [False, True])
def test_renamed_folder_stores_nothing(root: Path, tmp_path: Path, workers: bool) -> None:
    """Modes and owners of the new status count; a second backup still knows where the contents are."""
    first = take(root)
    (root / "old").rename(root / "new")
    (root / "new" / "b").chmod(0)
    second = backup_with(root, first, workers)
    assert second.packs == first.packs
    assert second[b"new/b"].member == b"old/b"
    assert second[b"new/sub/%odd \n"].member == b"old/sub/%odd \n"
    assert second[b"new/large"].pack == first[b"old/large"].pack
    assert_restores(second, root, tmp_path)
    os.utime(root / "new" / "large")
    (root / "new").rename(root / "again")
    third = backup_with(root, second, workers)
    assert third.packs == first.packs
    assert third[b"again/large"].member == b"old/large"
    assert_restores(third, root, tmp_path)
    (root / "again").rename(root / "old")
    fourth = backup_with(root, third, workers)
    assert (fourth.packs, fourth[b"old/large"].member) == (first.packs, b"")
    assert_restores(fourth, root, tmp_path)


def backup_with(root: Path, earlier: Backup, workers: bool, packs_to_rewrite: Collection[str] = ()) -> Backup:
    options: dict[str, Any] = {"earlier": earlier, "packs_to_rewrite": packs_to_rewrite}
    if not workers:
        return take(root, **options)
    with Hashers(Job(root=str(root), packs_to_rewrite=tuple(packs_to_rewrite))) as hashers:
        hashers.submit([]).result()  # from now on the workers are used for single files as well
        return take(root, scan=ScanAhead, hashers=hashers, **options)


@pytest.mark.parametrize("workers", [False, True])
def test_copied_files_refer_to_one_member(root: Path, tmp_path: Path, workers: bool) -> None:
    """Each copy has a mode of its own, also if the first one in the pack may not be read."""
    first = take(root)
    (root / "old" / "a").chmod(0)
    for number in range(5):
        for name in ("b", "large", "sparse"):
            copy = root / f"copy-{number}" / name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes((root / "old" / name).read_bytes())
            copy.chmod(0o600 + number)
    second = backup_with(root, first, workers)
    assert second.packs == first.packs
    assert_restores(second, root, tmp_path)
    assert (tmp_path / "staging-1" / "copy-4" / "sparse").stat().st_blocks < 2 * BLOCK // 512


@pytest.mark.parametrize("workers", [False, True])
def test_rotated_logs_store_only_the_new_one(tmp_path: Path, workers: bool) -> None:
    """All paths are known, but their contents are those of other paths, also where sizes are equal."""
    root = tmp_path / "root"
    root.mkdir()
    for number in range(4):
        (root / f"log.{number}").write_bytes(contents(number, 5000 if number < 2 else 2 * BLOCK + number))
    first = take(root)
    for number in reversed(range(4)):
        (root / f"log.{number}").rename(root / f"log.{number + 1}")
    (root / "log.0").write_bytes(b"the first line\n" * 100)
    second = backup_with(root, first, workers)
    assert new_packs(second, first).count(b"ustar") == 1
    assert [second[b"log.%d" % number].member for number in range(5)] == [
        b"", b"log.0", b"log.1", b"log.2", b"log.3",
    ]  # fmt: skip
    assert_restores(second, root, tmp_path)


@pytest.mark.parametrize("workers", [False, True])
def test_renamed_files_of_rewritten_packs_are_stored(root: Path, tmp_path: Path, workers: bool) -> None:
    first = take(root)
    (root / "old").rename(root / "new")
    second = backup_with(root, first, workers)
    third = backup_with(root, second, workers, packs_to_rewrite=list(first.packs))
    used = {record.pack for record in third.records if record.kind == "file"}
    assert used == third.packs.keys() - first.packs.keys()
    assert not any(record.member for record in third.records)
    assert_restores(third, root, tmp_path)
    (root / "new").rename(root / "newer")
    fourth = backup_with(root, second, workers, packs_to_rewrite=list(first.packs))
    assert not {record.pack for record in fourth.records} & first.packs.keys()
    assert_restores(fourth, root, tmp_path)


def test_renamed_small_file_and_file_of_a_known_size_are_stored(root: Path, tmp_path: Path) -> None:
    (root / "small").write_bytes(b"x" * (SMALLEST - 1))
    first = take(root)
    (root / "small").rename(root / "small, renamed")
    (root / "other").write_bytes(contents(11))
    (root / "other, large").write_bytes(contents(11, 2 * BLOCK + 5))
    for workers in (False, True):
        second = backup_with(root, first, workers)
        assert new_packs(second, first).count(b"ustar") == 3
        assert_restores(second, root, tmp_path)


def test_renamed_tree_is_hashed_by_workers_of_the_archive_worker(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(3 * BATCH_FILES):
        folder = root / "tenant" / f"{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_bytes(contents(number, SMALLEST + number))
    first = job(root, tmp_path / "first")
    packs, expected = read_and_report(first)
    (root / "tenant").rename(root / "tenant, renamed")
    (root / "tenant, renamed" / "1" / "1").write_bytes(b"new")
    second = job(root, tmp_path / "second", parent_index=first.index)
    stored, report = read_and_report(second)
    (pack,) = stored.values()
    assert pack.count(b"ustar") == 1
    assert report.kinds == expected.kinds
    assert report.live_bytes.keys() == {*packs, *stored}
    full = job(root, tmp_path / "full", parent_index=second.index, full=True)
    assert sum(data.count(b"ustar") for data in read_and_report(full)[0].values()) == 3 * BATCH_FILES
