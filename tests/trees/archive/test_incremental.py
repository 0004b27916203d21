"""Later backups of a tree: unchanged files stay in the packs of earlier backups."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.streams import BLOCK
from igny8_backup.trees.index import index
from igny8_backup.trees.index.parent import ParentIndex
from igny8_backup.trees.model.names import order
from igny8_backup.trees.model.records import to_line
from igny8_backup.trees.scan.scan import BATCH_FILES
from tests.trees.changes import CHANGES, Change, apply
from tests.trees.tools import Backup, look, restore_tree, rsync_differences, take

pytestmark = pytest.mark.slow

LONG_AGO = (1_700_000_000 * 10**9, 1_700_000_000 * 10**9)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree that has not changed for a while: ctime cannot be set, so the fixture waits."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for name, data in {"a": b"alpha", "b": b"beta", "sub/c": b"gamma", "z": b"z" * (2 * BLOCK)}.items():
        (root / name).write_bytes(data)
    time.sleep(2.1)
    return root


def new_packs(backup: Backup, earlier: Backup) -> bytes:
    return b"".join(data for name, data in backup.packs.items() if name not in earlier.packs)


def assert_restores(backup: Backup, root: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    restore_tree(backup, staging)
    assert look(staging) == look(root)
    # The metadata of the root is set by the swap.
    assert [line for line in rsync_differences(root, staging).splitlines() if not line.endswith(" ./")] == []
    shutil.rmtree(staging)


def test_incremental_only_changed_files_are_opened(root: Path, tmp_path: Path) -> None:
    first = take(root)
    assert first.unopened == []
    (root / "b").write_bytes(b"BETA")
    (root / "new").write_bytes(b"new")
    (root / "sub" / "c").unlink()
    second = take(root, earlier=first)
    assert second.unopened == [b"a", b"z"]
    assert new_packs(second, first).count(b"ustar") == 2
    assert second[b"a"] == first[b"a"]
    assert_restores(second, root, tmp_path)
    third = take(root, earlier=second)
    assert third.unopened == [b"a", b"z"]  # the times of b and new are too recent to be trusted
    assert new_packs(third, second) == b""
    assert_restores(third, root, tmp_path)


def test_incremental_one_changed_file_in_a_batch_is_opened(tmp_path: Path) -> None:
    """Files are compared in batches; a changed one does not affect the others of its batch."""
    root = tmp_path / "root"
    root.mkdir()
    names = [f"{number:04}" for number in range(2 * BATCH_FILES + 50)]
    for name in names:
        (root / name).write_text(name)
    (root / names[BATCH_FILES]).unlink()
    (root / names[BATCH_FILES]).mkdir()
    time.sleep(2.1)
    first = take(root)
    changed, gone, new = names[BATCH_FILES // 2], names[BATCH_FILES + 5], f"{names[-20]}-new"
    (root / changed).write_text("else")
    (root / gone).unlink()
    (root / new).write_text(new)
    second = take(root, earlier=first)
    same = set(names) - {changed, gone, names[BATCH_FILES]}
    assert second.unopened == [name.encode() for name in sorted(same)]
    assert [record.path for record in second.records] == [
        b"",
        *(name.encode() for name in sorted({*names, new} - {gone})),
    ]
    assert_restores(second, root, tmp_path)


def test_incremental_change_of_same_size_and_mtime_is_found(root: Path, tmp_path: Path) -> None:
    first = take(root)
    times = os.stat(root / "a")
    (root / "a").write_bytes(b"ALPHA")
    os.utime(root / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    second = take(root, earlier=first)
    assert b"a" not in second.unopened
    assert_restores(second, root, tmp_path)


def test_incremental_change_of_mode_stores_nothing(root: Path, tmp_path: Path) -> None:
    first = take(root)
    (root / "a").chmod(0o600)
    (root / "z").chmod(0o640)
    second = take(root, earlier=first)
    assert new_packs(second, first) == b""
    assert (second[b"a"].mode, second[b"z"].mode) == (0o600, 0o640)
    assert_restores(second, root, tmp_path)


def test_incremental_checksum_reads_everything_and_stores_nothing(root: Path, tmp_path: Path) -> None:
    first = take(root)
    second = take(root, earlier=first, checksum=True)
    assert second.unopened == []
    assert new_packs(second, first) == b""
    assert_restores(second, root, tmp_path)


def test_incremental_pack_to_rewrite_is_no_longer_needed(root: Path, tmp_path: Path) -> None:
    first = take(root, limit=2 * BLOCK)
    assert len(first.packs) == 2
    small, large = first.packs
    (root / "b").write_bytes(b"BETA")
    second = take(root, earlier=first, packs_to_rewrite={small})
    assert second.unopened == [b"z"]
    assert {record.pack for record in second.records if record.kind == "file"} == {
        large,
        *(second.packs.keys() - first.packs.keys()),
    }
    del second.packs[small]
    assert_restores(second, root, tmp_path)


def test_incremental_racy_file_is_read_again(root: Path) -> None:
    (root / "a").write_bytes(b"young")
    first = take(root)
    assert first[b"a"].racy and not first[b"b"].racy
    second = take(root, earlier=first)
    assert second.unopened == [b"b", b"sub/c", b"z"]


def test_incremental_hard_links_stay_links(root: Path, tmp_path: Path) -> None:
    os.link(root / "z", root / "sub" / "link")
    os.utime(root / "z", ns=LONG_AGO)
    time.sleep(2.1)
    first = take(root)
    second = take(root, earlier=first)
    assert new_packs(second, first) == b""
    assert_restores(second, root, tmp_path)
    (root / "sub" / "link").unlink()
    third = take(root, earlier=second)
    assert_restores(third, root, tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CHANGES, max_size=6), min_size=2, max_size=4))
def test_incremental_any_changes_restore_exactly(
    nights: list[list[Change]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, copies = Path(folder, "root"), Path(folder, "copies")
        root.mkdir()
        copies.mkdir()
        backups: list[Backup] = []
        for number, changes in enumerate(nights):
            for change in changes:
                apply(root, change)
            backups.append(take(root, earlier=backups[-1] if backups else None, limit=2000))
            assert backups[-1].skipped == []
            subprocess.run(["cp", "-a", root, copies / str(number)], check=True)
        # Pruning: the newest backup restores from the packs that it names, and no others.
        newest = backups[-1]
        needed = {record.pack for record in newest.records if record.kind == "file"}
        newest.packs = {name: data for name, data in newest.packs.items() if name in needed}
        for number, backup in enumerate(backups):
            staging = Path(folder, f"staging{number}")
            restore_tree(backup, staging)
            differences = rsync_differences(copies / str(number), staging)
            assert [line for line in differences.splitlines() if not line.endswith(" ./")] == []


@settings(deadline=None)
@given(
    st.sets(
        st.binary(min_size=1, max_size=4).filter(
            lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
        )
    ),
    st.data(),
)
def test_parent_index_any_walk_finds_its_files(names: set[bytes], data: st.DataObject) -> None:
    """Index and walk are sorted: files in both are found, whatever else only one of them has."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(b"")
        backup = take(Path(folder))
    kept = [record for record in backup.records if record.kind == "dir" or data.draw(st.booleans())]
    asked = sorted(
        (record for record in backup.records if record.kind == "file"), key=lambda record: order(record.path)
    )
    parent = ParentIndex([to_line(record)] for record in kept)
    for record in asked:
        if data.draw(st.booleans()):
            line = to_line(record)
            expected = [line] if record in kept else []
            if data.draw(st.booleans()):
                taken = parent.match_unchanged([line, b"no line begins so"])
                assert taken in ([], expected)
                if taken:
                    continue
            assert parent.find(record.path) == (line if record in kept else None)


def test_index_lines_equal_to_line(root: Path) -> None:
    backup = take(root)
    lines = [line for some in index.lines(io.BytesIO(backup.index())) for line in some]
    assert lines == [to_line(record) for record in backup.records]
    assert all(json.loads(line) for line in lines)
