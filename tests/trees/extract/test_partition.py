"""The records of an index, partitioned by pack."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.streams import Blocks
from igny8_backup.trees.extract.partition import Partition, read_records
from igny8_backup.trees.index import index
from igny8_backup.trees.model.names import order
from igny8_backup.trees.model.records import Record
from tests.services.disk import fill, small_disk
from tests.trees.tools import Backup, stream

ONE, TWO = "20261122T021500Z-7f3a9c-0001", "20261122T021500Z-7f3a9c-0002"


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


def test_partition_gives_each_pack_its_records_in_order(partition: Partition) -> None:
    records = tree(5000)
    partition.add_all(index.read(stream(Backup(records=records).index(), 1000)))
    for name in (ONE, TWO):
        assert list(read_records(partition.folder / name)) == in_pack(name, records)
    assert list(partition.non_files()) == [records[0], records[-1]]


def test_partition_renamed_files_are_in_the_order_of_the_pack(partition: Partition) -> None:
    """The index is in the order of the new paths; a reader of the pack needs that of the old ones."""
    records = [
        record._replace(member=hashlib.sha256(record.path).hexdigest().encode()) if number % 3 else record
        for number, record in enumerate(tree(9000), 1)
        if record.kind == "file"
    ]
    partition.add_all(records)
    for name in (ONE, TWO):
        found = list(read_records(partition.folder / name))
        assert found == sorted(in_pack(name, records), key=lambda record: order(record.stored_path))
    descriptor = os.open(partition.folder, os.O_RDONLY)
    try:
        assert list(read_records(Path(TWO), folder=descriptor)) == found
    finally:
        os.close(descriptor)


def test_partition_pack_without_records_ends(partition: Partition) -> None:
    partition.add_all(tree(0))
    assert list(read_records(partition.folder / ONE)) == []


def test_partition_unknown_pack_raises(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    partition = Partition(tmp_path / "spool", [ONE])
    with pytest.raises(IntegrityError, match=f"names the pack {TWO}, which the manifest does not name"):
        partition.add_all(tree(2))


def test_partition_truncated_index_raises(partition: Partition) -> None:
    data = Backup(records=tree(5000)).index()
    with pytest.raises(IntegrityError, match=r"^The index ends in the middle of a line\."):
        partition.add_all(index.read(stream(data[:-1000])))


def test_partition_error_of_the_stream_is_raised(partition: Partition) -> None:
    def broken() -> Blocks:
        yield Backup(records=tree(5000)).index()
        raise IntegrityError("It is not what was stored.")

    with pytest.raises(IntegrityError, match="not what was stored"):
        partition.add_all(index.read(broken()))


def test_partition_disk_full_raises(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        (disk / "spool").mkdir()
        partition = Partition(disk / "spool", [ONE, TWO])
        fill(disk, 64 << 10)
        with pytest.raises(
            FilesError,
            match=f"^The index of the tree cannot be stored in {disk}: No space left on device."
            " Nothing live was changed. Free some space there",
        ):
            partition.add_all(tree(5000))
