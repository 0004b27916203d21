"""Files that change, vanish or are refused while a tree is backed up, without mocks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from igny8_backup.streams import BLOCK
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.trees.archive.packs import PackWriter
from igny8_backup.trees.extract.check import check_pack
from igny8_backup.trees.index.lines import FileLines
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import CHANGED, REPLACED, VANISHED
from igny8_backup.trees.scan.scan_ahead import ScanAhead
from tests.trees.tools import Backup, in_child, look, only_files, records_of, restore_tree, take


def files(root: Path, **contents: bytes) -> None:
    for name, data in contents.items():
        (root / name).write_bytes(data)


def before(path: bytes, act: Callable[[], object]) -> Callable[[Record], None]:
    """Call ``act`` when the record of this path is emitted, before the next file is opened."""

    def on_record(record: Record) -> None:
        if record.path == path:
            act()

    return on_record


def within(size: int, act: Callable[[], object]) -> Callable[[int, int], None]:
    """Call ``act`` once, as soon as ``size`` bytes have been read, while a large file is read."""
    done: list[bool] = []

    def on_progress(_: int, total: int) -> None:
        if total >= size and not done:
            done.append(True)
            act()

    return on_progress


def assert_whole(backup: Backup, folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Assert that tar reads the packs, that the index is valid, and that the tree passes a restore."""
    for name, data in backup.packs.items():
        subprocess.run(["tar", "-tf", "-"], input=data, stdout=subprocess.DEVNULL, check=True)
        check_pack(from_bytes(data), [record for record in backup.records if record.pack == name])
    restore_tree(backup, folder)
    return look(folder)


def always(act: Callable[[], object]) -> Callable[[int, int], None]:
    """Call ``act`` after every block of a large file."""

    def on_progress(files: int, _: int) -> None:
        if not files:
            act()

    return on_progress


def test_pack_writer_file_that_grows_once_is_read_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    files(root, a=b"x" * (3 * BLOCK), b=b"after")

    def grow() -> None:
        with open(root / "a", "ab") as file:
            file.write(b"y" * 10_000)

    backup = take(root, on_progress=within(BLOCK, grow))
    assert backup.skipped == []
    assert backup[b"a"].size == 3 * BLOCK + 10_000
    assert_whole(backup, tmp_path / "staging")
    assert (tmp_path / "staging" / "a").read_bytes() == b"x" * (3 * BLOCK) + b"y" * 10_000
    for data in backup.packs.values():  # in a restore by hand, too, the second member counts
        (tmp_path / "hand").mkdir()
        subprocess.run(["tar", "-xf", "-", "-C", tmp_path / "hand"], input=data, check=True)
    assert (tmp_path / "hand" / "a").read_bytes() == b"x" * (3 * BLOCK) + b"y" * 10_000


def test_pack_writer_growing_file_is_cut_at_its_size(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    files(root, a=b"x" * (3 * BLOCK), b=b"after")

    def grow() -> None:
        with open(root / "a", "ab") as file:
            file.write(b"y" * 10_000)

    backup = take(root, on_progress=always(grow))
    assert backup.skipped == [(b"a", CHANGED)]
    # Progress is reported after two of the three blocks of the first reading.
    assert backup[b"a"].size == 3 * BLOCK + 20_000
    stored = b"x" * (3 * BLOCK) + b"y" * 20_000
    assert backup[b"a"].sha256 == hashlib.sha256(stored).hexdigest()
    assert backup[b"a"].racy
    assert assert_whole(backup, tmp_path / "staging").keys() == {b"a", b"b"}


def test_pack_writer_shrinking_file_is_padded_with_zeros(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    files(root, a=b"x" * (6 * BLOCK), b=b"after")

    def shrink() -> None:
        os.truncate(root / "a", (root / "a").stat().st_size - 1000)

    backup = take(root, on_progress=always(shrink))
    assert backup.skipped == [(b"a", CHANGED)]
    assert_whole(backup, tmp_path / "staging")
    contents = (tmp_path / "staging" / "a").read_bytes()
    assert len(contents) == backup[b"a"].size > BLOCK
    assert contents.rstrip(b"\0").strip(b"x") == b"" and contents.endswith(b"\0")
    assert (tmp_path / "staging" / "b").read_bytes() == b"after"


def test_pack_writer_file_rewritten_in_place_is_read_again(tmp_path: Path) -> None:
    files(tmp_path, a=b"x" * (3 * BLOCK))

    def rewrite() -> None:
        with open(tmp_path / "a", "r+b") as file:
            file.write(b"y")

    backup = take(tmp_path, on_progress=within(BLOCK, rewrite))
    assert backup.skipped == []
    assert backup[b"a"].sha256 == hashlib.sha256(b"y" + b"x" * (3 * BLOCK - 1)).hexdigest()


def test_pack_writer_vanished_files_are_skipped(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    files(root, a=b"a", b=b"b", z=b"z")
    (root / "dir" / "f").touch()

    def vanish() -> None:
        (root / "b").unlink()
        (root / "dir" / "f").unlink()
        (root / "dir").rmdir()

    backup = take(root, on_record=before(b"a", vanish))
    assert backup.skipped == [(b"b", VANISHED), (b"dir", VANISHED)]
    assert assert_whole(backup, tmp_path / "staging").keys() == {b"a", b"z"}


def test_pack_writer_file_deleted_while_read_is_complete(tmp_path: Path) -> None:
    files(tmp_path, a=b"x" * (2 * BLOCK))
    backup = take(tmp_path, on_progress=within(BLOCK, (tmp_path / "a").unlink))
    assert backup.skipped == []  # its ctime changed, and the second reading found no further change
    assert backup[b"a"].sha256 == hashlib.sha256(b"x" * (2 * BLOCK)).hexdigest()


def test_pack_writer_file_replaced_by_non_file_is_skipped(tmp_path: Path) -> None:
    """A thread replaces a file by a symlink, a FIFO and another file while it is backed up."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    files(elsewhere, secret=b"secret")
    files(root, a=b"mine")
    stop = threading.Event()

    def flip() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            new = elsewhere / f"new{number}"
            if number % 3 == 0:
                new.write_bytes(b"mine")
            elif number % 3 == 1:
                new.symlink_to(elsewhere / "secret")
            else:
                os.mkfifo(new)
            new.replace(root / "a")

    thread = threading.Thread(target=flip)
    thread.start()
    seen: set[str] = set()
    packs: list[bytes] = []
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end and not {REPLACED, "a FIFO", "file", "symlink"} <= seen:
            backup = take(root)
            packs += backup.packs.values()
            seen |= {reason for _, reason in backup.skipped} | {record.kind for record in backup.records}
    finally:
        stop.set()
        thread.join()
    assert {REPLACED, "a FIFO", "file", "symlink"} <= seen
    assert b"secret" not in b"".join(packs)


def test_pack_writer_replaced_hard_link_is_no_link(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    files(root, a=b"a", b=b"old, and of two names", new=b"new")
    os.link(root / "b", root / "c")

    def replace() -> None:
        (root / "new").replace(root / "b")  # after lstat of all four files, before b is opened

    backup = take(root, on_record=before(b"a", replace))
    assert backup.skipped == [(b"new", VANISHED)]
    assert_whole(backup, tmp_path / "staging")
    assert (tmp_path / "staging" / "b").read_bytes() == b"new"
    assert (tmp_path / "staging" / "c").read_bytes() == b"old, and of two names"


def test_pack_writer_slow_storage_keeps_recent_files_racy(
    tmp_path: Path,
) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "small").mkdir()
    files(tmp_path / "large", a=b"x" * (3 * BLOCK))
    files(tmp_path / "small", a=b"x" * 3000, b=b"x" * 3000)  # b is read before the end of a's pack is stored
    found: list[FileLines] = []
    writers = [
        PackWriter(
            tmp_path / name,
            backup_id="id",
            emit=only_files(found),
            limit=4000,
        ).packs()
        for name in ("large", "small")
    ]
    under_way = [next(writer)[1] for writer in writers]
    for blocks in under_way:
        next(blocks)
    time.sleep(2.1)  # like a slow storage
    for writer, blocks in zip(writers, under_way, strict=True):
        list(blocks)
        assert all(b"".join(more) for _, more in writer)
    assert [record.racy for files in found for record in records_of(files)] == [True] * 3


def test_pack_writer_unreadable_file_is_skipped(nobodys: Path) -> None:
    files(nobodys, a=b"a", b=b"b", c=b"c")
    (nobodys / "b").chmod(0)
    backup = in_child(lambda: take(nobodys), as_nobody=True)
    assert isinstance(backup, Backup)
    assert backup.skipped == [(b"b", "cannot be read: Permission denied")]
    assert [record.path for record in backup.records] == [b"", b"a", b"c"]


def test_pack_writer_file_changed_after_opening_is_stored_as_read(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    files(root, a=b"a", b=b"old", c=b"c", d=b"large" * BLOCK)

    def change() -> None:
        (root / "b").write_bytes(b"new and longer")
        (root / "c").unlink()

    backup = take(root, ahead=10, on_record=before(b"a", change))
    assert backup.skipped == []
    assert_whole(backup, tmp_path / "staging")
    assert (tmp_path / "staging" / "b").read_bytes() == b"new and longer"
    assert (tmp_path / "staging" / "c").read_bytes() == b"c"


def test_pack_writer_interrupted_closes_descriptors(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    files(tmp_path / "sub", a=b"a" * 3 * BLOCK, b=b"b")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(tmp_path, on_record=before(b"sub/a", stop))
    with pytest.raises(KeyboardInterrupt):
        take(tmp_path, on_progress=within(BLOCK, stop))
    with pytest.raises(KeyboardInterrupt):
        take(tmp_path, on_record=before(b"sub", stop), ahead=10)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_pack_writer_reused_inode_is_no_hard_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    os.link(tmp_path / "a", tmp_path / "b")

    def change(found: Record) -> None:
        if not found.path:  # the other entries were scanned as well
            (tmp_path / "b").unlink()
            (tmp_path / "b").write_text("another")
            os.link(tmp_path / "a", tmp_path / "c")

    backup = take(tmp_path, on_record=change, scan=ScanAhead)
    assert [backup[path].kind for path in (b"a", b"b")] == ["file", "file"]
    assert backup[b"b"].sha256 == hashlib.sha256(b"another").hexdigest()
