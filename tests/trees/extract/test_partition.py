"""The records of an index partitioned by pack, read by others while they are added."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError, IntegrityError, ToolError
from igny8_backup.trees.extract.partition import Partition, partition_index, read_records
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.worker_protocol import start_worker
from tests.services.disk import fill, small_disk
from tests.trees.tools import Backup, stream

ONE, TWO = "20261122T021500Z-7f3a9c-0001", "20261122T021500Z-7f3a9c-0002"


class NotYet(Exception):
    """Raised where a reader would have to wait."""


def not_yet() -> None:
    raise NotYet


@pytest.fixture
def partition(tmp_path: Path) -> Partition:
    (tmp_path / "spool").mkdir()
    return Partition(tmp_path / "spool", [ONE, TWO])


def tree(files: int) -> list[Record]:
    """Records of a root, of files that lie alternately in two packs, and of a folder at the end."""
    root = Record(b"", "dir", 0o755, 0, 0, "", "", 0, 0, 0, 1)
    made = [
        root._replace(path=b"%06d" % number, kind="file", sha256="0" * 64, pack=(ONE, TWO)[number % 2])
        for number in range(files)
    ]
    return [root, *made, root._replace(path=b"z")]


def in_pack(name: str, records: list[Record]) -> list[Record]:
    return [record for record in records if record.pack == name]


def test_partition_index_gives_each_pack_its_records_in_order(partition: Partition) -> None:
    records = tree(5000)
    partition_index(partition, stream(Backup(records=records).index(), 1000))
    for name in (ONE, TWO):
        assert list(read_records(partition.folder / name, wait=not_yet)) == in_pack(name, records)
    assert list(partition.non_files()) == [records[0], records[-1]]


def test_partition_pack_without_records_ends(partition: Partition) -> None:
    partition.add_all(tree(0))
    assert list(read_records(partition.folder / ONE, wait=not_yet)) == []


def test_partition_records_are_readable_before_all_are_added(partition: Partition) -> None:
    records = tree(5000)
    reader = read_records(partition.folder / ONE, wait=not_yet)
    found: list[Record] = []

    def taken() -> Iterator[Record]:
        for count, record in enumerate(records):
            if count == 3000:
                found.append(next(reader))
            yield record

    partition.add_all(taken())
    assert [*found, *reader] == in_pack(ONE, records)


def test_partition_after_an_error_readers_wait_for_more(partition: Partition) -> None:
    def cut() -> Iterator[Record]:
        yield from tree(5000)
        raise IntegrityError("The index is damaged.")

    with pytest.raises(IntegrityError, match="damaged"):
        partition.add_all(cut())
    reader = read_records(partition.folder / ONE, wait=not_yet)
    with pytest.raises(NotYet):
        list(reader)
    with pytest.raises(RuntimeError, match="before all records were added"):
        list(partition.non_files())


@pytest.mark.parametrize("step", [1, 100, 4096])
def test_read_records_incomplete_file_waits_for_the_rest(partition: Partition, step: int) -> None:
    """The file may end in a length or in the middle of a batch."""
    records = tree(100 if step == 1 else 5000)
    partition.add_all(records)
    whole = (partition.folder / ONE).read_bytes()
    growing = partition.folder / "growing"
    growing.touch()
    at = 0

    def grow() -> None:
        nonlocal at
        assert at < len(whole), "all is there"
        with open(growing, "ab") as file:
            file.write(whole[at : at + step])
        at += step

    assert list(read_records(growing, wait=grow)) == in_pack(ONE, records)
    assert at >= len(whole), "it has waited for the end"


def test_partition_unknown_pack_raises(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    partition = Partition(tmp_path / "spool", [ONE])
    with pytest.raises(IntegrityError, match=f"names the pack {TWO}, which the manifest does not name"):
        partition_index(partition, stream(Backup(records=tree(2)).index()))


def test_partition_truncated_index_raises(partition: Partition) -> None:
    data = Backup(records=tree(5000)).index()
    with pytest.raises(IntegrityError, match=r"^The index ends in the middle of a line\."):
        partition_index(partition, stream(data[:-1000]))


def test_partition_error_of_the_stream_is_raised(partition: Partition) -> None:
    def broken() -> Iterator[bytes]:
        yield Backup(records=tree(5000)).index()
        raise IntegrityError("It is not what was stored.")

    with pytest.raises(IntegrityError, match="not what was stored"):
        partition_index(partition, broken())  # type: ignore[arg-type]
    with pytest.raises(NotYet):
        list(read_records(partition.folder / ONE, wait=not_yet))


def test_partition_disk_full_raises(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        (disk / "spool").mkdir()
        partition = Partition(disk / "spool", [ONE, TWO])
        fill(disk, 64 << 10)
        with pytest.raises(
            FilesError,
            match=f"^The index of the tree cannot be kept in {disk}: No space left on device."
            " Nothing live was changed. Free some space there",
        ):
            partition_index(partition, stream(Backup(records=tree(5000)).index()))


def test_partition_worker_without_input_fails(partition: Partition) -> None:
    with (
        pytest.raises(ToolError, match="exit status 1: The input ended before the job was done"),
        start_worker("igny8_backup.trees.extract.partition_process") as worker,
    ):
        worker.close_input()
        worker.result()
    assert os.listdir(partition.folder)
