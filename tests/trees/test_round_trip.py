"""Trees that are backed up, restored, and compared by other tools."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igny8_backup.trees.archive.packs import PackWriter
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.remove import remove_tree
from igny8_backup.trees.index import index
from igny8_backup.trees.index.lines import FileLines
from igny8_backup.trees.model.records import Record
from tests.services import unavailable
from tests.trees.planting import plant
from tests.trees.tools import (
    in_child,
    look,
    only_files,
    records_of,
    restore_tree,
    rsync_differences,
    stream,
    take,
)


@pytest.mark.parametrize("limit", [1, 50_000, 1 << 30])
def test_round_trip_odd_tree_is_equal(tmp_path: Path, limit: int) -> None:
    root, staging = tmp_path / "root", tmp_path / "staging"
    root.mkdir()
    plant(root)
    backup = take(root, limit=limit)
    assert backup.skipped == []
    assert restore_tree(backup, staging, block=100_003).skipped == []
    found = look(root)
    assert len(found) > 40
    assert look(staging) == found
    assert take(root).records == backup.records if limit == 1 << 30 else True


def test_round_trip_odd_tree_shows_no_difference_to_rsync(tmp_path: Path) -> None:
    if shutil.which("rsync") is None:
        unavailable("rsync is not installed.")
    root, staging = tmp_path / "root", tmp_path / "staging"
    root.mkdir()
    plant(root)
    restore_tree(take(root), staging)
    shutil.copystat(root, staging)
    os.chown(staging, root.stat().st_uid, root.stat().st_gid)
    assert rsync_differences(root, staging) == ""
    (staging / "plain.txt").write_bytes(b"hullo\n")
    assert "plain.txt" in rsync_differences(root, staging)  # rsync does see differences


def test_round_trip_without_root_restores_all_but_owners(nobodys: Path) -> None:
    """Folders that are not writable and files that are not readable: their owner can still restore them."""

    def work() -> tuple[object, object, object, int]:
        root, staging = nobodys / "root", nobodys / "staging"
        (root / "shut").mkdir(parents=True)
        (root / "shut" / "file").write_bytes(b"contents")
        (root / "zz").symlink_to("shut")
        os.link(root / "shut" / "file", root / "other")
        (root / "shut").chmod(0o555)
        backup = take(root)
        reported = restore_tree(backup, staging)
        return backup.skipped, reported.skipped, look(staging) == look(root), len(look(root))

    assert in_child(work, as_nobody=True) == ([], [], True, 4)


NAME = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..") and not name.startswith(b".before-")
)
CONTENTS = st.one_of(
    st.binary(max_size=600),
    st.builds(lambda head, zeros, tail: head + bytes(zeros) + tail, st.binary(max_size=9),
              st.integers(0, 300_000), st.binary(max_size=9)),
)  # fmt: skip
MODE = st.integers(0, 0o777)
TIME = st.integers(-(10**18), 4 * 10**18)
LEAF = st.one_of(
    st.tuples(st.just("file"), CONTENTS, MODE, TIME),
    st.tuples(st.just("link"), st.binary(min_size=1, max_size=300).filter(lambda t: 0 not in t), MODE, TIME),
    st.tuples(st.just("hard"), st.just(b""), MODE, TIME),
)
TREE = st.recursive(
    st.dictionaries(NAME, LEAF, max_size=4),
    lambda below: st.dictionaries(
        NAME, st.one_of(LEAF, st.tuples(st.just("dir"), below, MODE, TIME)), max_size=4
    ),
    max_leaves=12,
)


def grow(folder: bytes, tree: dict[bytes, tuple[str, Any, int, int]], files: list[bytes]) -> None:
    for name, (kind, what, mode, time) in tree.items():
        path = os.path.join(folder, name)
        if kind == "dir":
            os.mkdir(path)
            grow(path, what, files)
        elif kind == "link":
            os.symlink(what, path)
            os.utime(path, ns=(time, time), follow_symlinks=False)
            continue
        elif kind == "hard" and files:
            os.link(files[len(name) % len(files)], path)
            continue
        else:
            with open(path, "wb") as file:
                file.write(what)
            files.append(path)
        os.chmod(path, mode | 0o700)
        os.utime(path, ns=(time, time))


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(TREE, st.integers(1, 3000), st.integers(1, 100_000))
def test_round_trip_any_tree_is_equal(
    tree: dict[bytes, tuple[str, Any, int, int]], limit: int, block: int
) -> None:
    top = Path(tempfile.mkdtemp(prefix="igny8-backup-tests-"))
    try:
        (top / "root").mkdir()
        grow(os.fsencode(top / "root"), tree, [])
        backup = take(top / "root", limit=limit)
        assert backup.skipped == []
        restore_tree(backup, top / "staging", block=block)
        assert look(top / "staging") == look(top / "root")
    finally:
        remove_tree(top)


# SHA-256 of 2**30 zeros, with b"data" at 2**29 + 12345 and b"!" at the end
GIBIBYTE = "fd7b32fb3966a76b5dabd3d3c728aceaa729d6296d074611fbd80c6eaa7485f1"


@pytest.mark.slow
def test_round_trip_sparse_file_stays_sparse(tmp_path: Path) -> None:
    """The file is streamed from one end to the other: neither disk nor memory ever holds all of it."""
    size = 1 << 30
    root, staging = tmp_path / "root", tmp_path / "staging"
    root.mkdir()
    staging.mkdir()
    with open(root / "disk.img", "wb") as file:
        file.truncate(size)
        file.seek(size // 2 + 12_345)
        file.write(b"data")
        file.seek(size - 1)
        file.write(b"!")
    files: list[FileLines] = []
    writer = PackWriter(root, backup_id="id", emit=only_files(files))
    packs = writer.packs()
    name, blocks = next(packs)
    expected = Record(
        path=b"disk.img", kind="file", mode=0o644, uid=0, gid=0, user="", group="", size=size,
        mtime_ns=0, ctime_ns=0, inode=1, sha256=GIBIBYTE, pack=name,
    )  # fmt: skip
    with closing(TreeWriter(staging, on_skip=lambda path, reason: None)) as tree:
        tree.extract_pack((bytes(block) for block in blocks), [expected])
    assert list(packs) == []
    assert [record.sha256 for file in files for record in records_of(file)] == [GIBIBYTE]
    status = (staging / "disk.img").stat()
    assert status.st_size == size
    assert status.st_blocks * 512 < 1 << 20
    with open(staging / "disk.img", "rb") as image:
        image.seek(size // 2 + 12_345)
        assert image.read(5) == b"data\0"
        image.seek(size - 2)
        assert image.read() == b"\0!"


def test_index_of_odd_tree_reads_the_same_in_any_blocks(tmp_path: Path) -> None:
    plant(tmp_path)
    backup = take(tmp_path)
    data = backup.index()
    for block in (1, 13, 4096):
        assert list(index.read(stream(data, block))) == backup.records


def test_two_backups_of_one_tree_are_identical(tmp_path: Path) -> None:
    """A pack depends neither on the time of the backup nor on the order of names on the disk."""
    plant(tmp_path)
    one, other = take(tmp_path), take(tmp_path)
    assert one.packs == other.packs
    assert one.index() == other.index()
    assert one.folders() == other.folders()
