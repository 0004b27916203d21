"""The extract worker: packs that are written out in a process of its own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError, IntegrityError, ToolError
from igny8_backup.streams import BLOCK
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.trees.extract.client import Job, Report, unpacker
from igny8_backup.trees.extract.partition import Partition
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.index import index
from igny8_backup.trees.worker_protocol import start_worker
from tests.trees.tools import Backup, look, stream, take


def empty_job(tmp_path: Path) -> Job:
    (tmp_path / "spool").mkdir()
    staging = tmp_path / "staging"
    staging.mkdir(0o700)
    inode = staging.stat().st_ino
    return Job(staging=str(staging), above=str(tmp_path), inode=inode, records=str(tmp_path / "spool"))


def unpack_job(backup: Backup, tmp_path: Path) -> tuple[Job, Partition]:
    made = empty_job(tmp_path)
    partition = Partition(tmp_path / "spool", backup.packs)
    partition.add_all(index.read(stream(backup.index())))
    return made, partition


def unpack(made: Job, packs: dict[str, bytes]) -> Report:
    with unpacker() as process:
        process.begin(made)
        for name, data in packs.items():
            process.unpack(name, from_bytes(data))
        return process.finish()


def test_extract_worker_packs_are_written(root: Path, tmp_path: Path) -> None:
    (root / "a").chmod(0o4755)
    backup = take(root, limit=BLOCK)
    assert len(backup.packs) > 1
    made, partition = unpack_job(backup, tmp_path)
    report = unpack(made, backup.packs)
    assert report.skipped == [("a", "its set-id bits were not set: --allow-set-id restores them")]
    assert report.owners_left == 0
    with closing(TreeWriter(tmp_path / "staging", on_skip=lambda path, reason: None)) as writer:
        writer.finish(partition.non_files())
    (root / "fifo").unlink()
    (root / "a").chmod(0o755)
    assert look(tmp_path / "staging") == look(root)


def test_extract_worker_contradicting_pack_raises(root: Path, tmp_path: Path) -> None:
    backup = take(root)
    made, _ = unpack_job(backup, tmp_path)
    packs = {name: data.replace(b"alpha", b"ALPHA") for name, data in backup.packs.items()}
    with pytest.raises(IntegrityError, match="'a' is not what was backed up: its SHA-256 is wrong"):
        unpack(made, packs)


def test_extract_worker_contradicting_pack_raises_while_others_are_sent(root: Path, tmp_path: Path) -> None:
    backup = take(root, limit=BLOCK)
    made, _ = unpack_job(backup, tmp_path)
    packs = dict.fromkeys(backup.packs, bytes(40 * BLOCK))
    first = min(packs)
    packs[first] = backup.packs[first].replace(b"alpha", b"ALPHA")
    with pytest.raises(IntegrityError, match="'a' is not what was backed up: its SHA-256 is wrong"):
        unpack(made, packs)


def test_extract_worker_input_closed_fails(root: Path, tmp_path: Path) -> None:
    """Whatever ends the process that sends the packs."""
    made, _ = unpack_job(take(root), tmp_path)
    with (
        pytest.raises(ToolError, match="exit status 1: The input ended before the job was done"),
        start_worker("igny8_backup.trees.extract.worker") as worker,
    ):
        worker.begin(asdict(made))
        worker._child.close_stdin()
        worker.result()


def test_extract_worker_disk_error_raises(root: Path, tmp_path: Path) -> None:
    backup = take(root)
    made, _ = unpack_job(backup, tmp_path)
    (tmp_path / "staging" / "a").write_bytes(b"in the way")
    with pytest.raises(FilesError, match="'a' cannot be written to the staging folder: File exists"):
        unpack(made, backup.packs)
