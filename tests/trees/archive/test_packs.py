"""Packs of a tree that does not change: contents, limits, blocks, and how other programs read them."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive.events import BATCH_FILES
from igny8_backup.trees.archive.packs import PackWriter
from igny8_backup.trees.model.names import DEPTH_LIMIT
from igny8_backup.trees.model.skips import NO_FAILURE
from igny8_backup.trees.tar.blocks import TarBlocks, new_buffer
from igny8_backup.trees.tar.format import RECORD
from tests.trees.planting import plant
from tests.trees.tools import IS_ROOT, look, only_files, take


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]  # it was written before


def files(root: Path, **contents: bytes) -> None:
    for name, data in contents.items():
        (root / name).write_bytes(data)


def packs_of(root: Path, limit: int = 1 << 30) -> Iterator[tuple[str, TarBlocks]]:
    writer = PackWriter(root, backup_id="id", emit=only_files([]), limit=limit)
    with closing(writer.packs()) as packs:
        yield from packs


def test_pack_writer_records_are_sorted_with_digests_and_packs(tmp_path: Path) -> None:
    files(tmp_path, a=b"one", c=b"")
    (tmp_path / "b").mkdir()
    backup = take(tmp_path)
    (pack,) = backup.packs
    assert [(record.path, record.kind, record.pack) for record in backup.records] == [
        (b"", "dir", ""), (b"a", "file", pack), (b"b", "dir", ""), (b"c", "file", pack),
    ]  # fmt: skip
    assert backup[b"a"].sha256 == hashlib.sha256(b"one").hexdigest()
    assert members(backup.packs[pack]) == {"./a": b"one", "./c": b""}


def test_pack_writer_tree_without_files_has_no_pack(tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "link").symlink_to("hollow")
    backup = take(tmp_path)
    assert backup.packs == {}
    assert [record.path for record in backup.records] == [b"", b"hollow", b"link"]


def test_pack_writer_missing_root_raises(tmp_path: Path) -> None:
    with pytest.raises(FilesError):
        take(tmp_path / "missing")


def test_pack_writer_packs_end_at_the_limit(tmp_path: Path) -> None:
    files(tmp_path, a=b"x" * 1000, b=b"x" * 1000, c=b"x" * 9000, d=b"x", e=b"x" * 1500, f=b"x")
    backup = take(tmp_path, limit=2 * (512 + 1024))
    assert [list(members(data)) for data in backup.packs.values()] == [
        ["./a", "./b"], ["./c"], ["./d", "./e"], ["./f"],
    ]  # fmt: skip
    assert [name[-4:] for name in backup.packs] == ["0001", "0002", "0003", "0004"]
    assert {record.path: record.pack[-1:] for record in backup.records} == {
        b"": "", b"a": "1", b"b": "1", b"c": "2", b"d": "3", b"e": "3", b"f": "4",
    }  # fmt: skip


def test_pack_writer_blocks_are_about_a_mebibyte(tmp_path: Path) -> None:
    files(tmp_path, large=os.urandom(5 * BLOCK + 17))
    for number in range(1500):
        (tmp_path / f"small{number}").write_bytes(b"x" * number)
    (sizes,) = [[len(block) for block in blocks] for _, blocks in packs_of(tmp_path)]
    assert all(BLOCK <= size <= 2 * BLOCK for size in sizes[:-1])
    assert len(sizes) > 6


def test_pack_writer_longest_path_fits_into_nearly_full_block(tmp_path: Path) -> None:
    files(tmp_path, a=bytes(BLOCK - 2 * RECORD))
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(DEPTH_LIMIT - 1):
        os.mkdir("d" * 255, dir_fd=folder)
        below = os.open("d" * 255, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    with open(os.open("e", os.O_WRONLY | os.O_CREAT, dir_fd=folder), "wb") as file:
        file.write(bytes(BLOCK))
    os.close(folder)
    backup = take(tmp_path)
    assert backup.skipped == []
    assert [len(data) for data in members(*backup.packs.values()).values()] == [BLOCK - 2 * RECORD, BLOCK]


def test_pack_writer_empty_files_fill_blocks(tmp_path: Path) -> None:
    for number in range(2100):
        (tmp_path / str(number)).touch()
    (sizes,) = [[len(block) for block in blocks] for _, blocks in packs_of(tmp_path)]
    assert sizes == [BLOCK, 2100 * 512 + 1024 - BLOCK]


def test_pack_writer_large_file_reports_progress(tmp_path: Path) -> None:
    files(tmp_path, a=b"x" * 10, b=b"x" * (2 * BLOCK + 5), c=b"")
    reported: list[tuple[int, int]] = []
    take(tmp_path, on_progress=lambda count, size: reported.append((count, size)))
    end = 2 * BLOCK + 15
    assert reported == [(1, 10), (1, BLOCK + 10), (1, 2 * BLOCK + 10), (2, end), (3, end)]


def test_pack_writer_hard_links_are_stored_under_the_first_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    files(tmp_path, c=b"contents")
    os.link(tmp_path / "c", tmp_path / "b" / "z")
    os.link(tmp_path / "c", tmp_path / "d")
    backup = take(tmp_path)
    assert members(*backup.packs.values()) == {"./b/z": b"contents"}
    assert [(record.path, record.kind, record.target) for record in backup.records[2:]] == [
        (b"b/z", "file", b""), (b"c", "hardlink", b"b/z"), (b"d", "hardlink", b"b/z"),
    ]  # fmt: skip


def test_pack_writer_special_files_are_never_opened(tmp_path: Path) -> None:
    files(tmp_path, a=b"a", z=b"z")
    os.mkfifo(tmp_path / "fifo")  # opening it without O_NONBLOCK would block forever
    backup = take(tmp_path)
    assert backup.skipped == [(b"fifo", "a FIFO")]
    assert {reason for _, reason in backup.skipped} <= NO_FAILURE
    assert [record.path for record in backup.records] == [b"", b"a", b"z"]


def test_pack_writer_unconsumed_pack_raises_and_closes(tmp_path: Path) -> None:
    files(tmp_path, a=b"a" * 3 * BLOCK, b=b"b", c=b"c")
    writer = PackWriter(tmp_path, backup_id="id", emit=only_files([]), limit=10_000)
    with closing(writer.packs()) as packs:
        _, blocks = next(packs)
        next(blocks)
        blocks.close()
        with pytest.raises(RuntimeError, match="not consumed"):
            next(packs)


@pytest.mark.parametrize("limit", [1, 40_000, 1 << 30])
def test_packs_are_extracted_by_gnu_tar(tmp_path: Path, limit: int) -> None:
    """The recipe of the documentation: every pack, then the folders' tar."""
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    plant(root)
    backup = take(root, limit=limit)
    assert (len(backup.packs) > 3) == (limit < 1 << 30)
    for data in reversed([*backup.packs.values()]):
        subprocess.run(["tar", "-xp", "--numeric-owner", "-C", out], input=data, check=True)
    subprocess.run(["tar", "-xp", "--numeric-owner", "-C", out], input=backup.folders(), check=True)
    second = 10**9

    def seen(folder: Path) -> dict[bytes, tuple[object, ...]]:  # tars have whole seconds, and these no xattrs
        return {name: what[:-1] for name, what in look(folder, times=second).items()}

    assert seen(out) == seen(root)
    assert out.stat().st_mtime == root.stat().st_mtime_ns // second
    assert out.stat().st_mode == root.stat().st_mode


def test_packs_are_read_alike_by_gnu_tar_and_python(tmp_path: Path) -> None:
    plant(tmp_path)
    (data,) = take(tmp_path).packs.values()
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8") as archive:
        python = [archive.extractfile(info).read() for info in archive]  # type: ignore[union-attr]  # it was written before
        names = [os.fsencode(name) for name in archive.getnames()]
    listed = subprocess.run(
        ["tar", "-t", "--null", "--quoting-style=literal"], input=data, capture_output=True, check=True
    )
    contents = subprocess.run(["tar", "-xO"], input=data, capture_output=True, check=True)
    assert contents.stdout == b"".join(python)
    assert listed.stdout == b"".join(name + b"\n" for name in names)
    root = os.fsencode(tmp_path)
    for name, found in zip(names, python, strict=True):
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == found


def test_pack_writer_many_files_use_constant_memory(tmp_path: Path) -> None:
    """As many objects are alive while the last of many packs is made as while the first is made."""
    for folder in range(20):
        (tmp_path / f"{folder:02}").mkdir()
        for number in range(30):
            (tmp_path / f"{folder:02}" / f"{number}").write_bytes(b"x")
    alive: list[int] = []
    for name, blocks in packs_of(tmp_path, limit=20 * 1024):
        for _ in blocks:
            pass
        if name in ("id-0010", "id-0029"):
            gc.collect()
            alive.append(len(gc.get_objects()))
    first, last = alive
    assert last - first < 200  # with 380 files between them


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_pack_writer_records_name_owners(tmp_path: Path) -> None:
    files(tmp_path, a=b"")
    os.chown(tmp_path / "a", 33, 33)
    record = take(tmp_path)[b"a"]
    assert (record.uid, record.gid, record.user, record.group) == (33, 33, "www-data", "www-data")


def test_pack_writer_used_buffers_leave_no_trace(tmp_path: Path) -> None:
    for number, size in enumerate((0, 1, 511, 512, 513, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7)):
        (tmp_path / f"{number}").write_bytes(os.urandom(size))

    def tar_of(buffer: Callable[[], memoryview]) -> bytes:
        writer = PackWriter(tmp_path, backup_id="id", emit=only_files([]), block_buffer=buffer)
        with closing(writer.packs()) as packs:
            return b"".join(bytes(block) for _, blocks in packs for block in blocks)

    used = new_buffer()

    def used_buffer() -> memoryview:
        used[:] = b"\xff" * len(used)
        return used

    assert tar_of(used_buffer) == tar_of(new_buffer)


def test_pack_writer_unchanged_large_files_report_progress(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / str(number)).write_bytes(os.urandom(3 * BLOCK))
    earlier = take(tmp_path)
    reported: list[tuple[int, int]] = []
    again = take(
        tmp_path,
        earlier=earlier,
        checksum=True,
        batch_files=BATCH_FILES,
        on_progress=lambda *now: reported.append(now),
    )
    assert again.packs == earlier.packs
    assert reported[-1] == (6, 18 * BLOCK)
    assert len(reported) >= 3


@pytest.mark.parametrize("limit", [k * BLOCK + 70_000 for k in range(1, 9)])
def test_pack_writer_shared_buffers_keep_every_byte(tmp_path: Path, limit: int) -> None:
    """The buffers of blocks belong to the consumer: the same one comes until its block is passed on.

    A pack ends while a file that no longer fits into it lies in such a buffer.
    """
    contents = {f"{number:03}": number.to_bytes(2, "big") * 20_000 for number in range(400)}
    files(tmp_path, **contents)
    shared, sent = [new_buffer() for _ in range(3)], 0
    writer = PackWriter(
        tmp_path,
        backup_id="id",
        emit=only_files([]),
        limit=limit,
        block_buffer=lambda: shared[sent % len(shared)],
    )
    found: dict[str, bytes] = {}
    with closing(writer.packs()) as packs:
        for _, blocks in packs:
            data = bytearray()
            for block in blocks:
                data += block
                sent += 1
            found |= members(bytes(data))
    assert found == {f"./{name}": data for name, data in contents.items()}
