"""The extract worker: packs that are written out in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
    (tmp_path / "staging").mkdir(0o700)
    return Job(staging=str(tmp_path / "staging"), records=str(tmp_path / "spool"))


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
    assert report.skipped == [("a", "its set-id bits were not set: --allow-set-id brings them back")]
    assert report.owners_left == 0
    with TreeWriter(tmp_path / "staging", on_skip=lambda path, reason: None) as writer:
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
        worker.close_input()
        worker.result()


def test_extract_worker_disk_error_raises(root: Path, tmp_path: Path) -> None:
    backup = take(root)
    made, _ = unpack_job(backup, tmp_path)
    (tmp_path / "staging" / "a").write_bytes(b"in the way")
    with pytest.raises(FilesError, match="'a' cannot be written to the staging folder: File exists"):
        unpack(made, backup.packs)


def started(made: Job, name: str, data: bytes) -> str:
    """A program that sends a pack, prints the process id of the worker, and then sleeps."""
    return f"""
import os, time
from pathlib import Path
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.trees.extract.client import Job, unpacker
with unpacker() as process:
    process.begin(Job(**{asdict(made)!r}))
    process.unpack({name!r}, from_bytes({data!r}))
    print(Path(f"/proc/self/task/{{os.getpid()}}/children").read_text(), flush=True)
    time.sleep(60)
"""


def ended(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_extract_worker_waiting_for_records_ends_with_its_parent(tmp_path: Path) -> None:
    """Even if the parent is killed and cannot close anything."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a").write_bytes(b"alpha")
    backup = take(tmp_path / "small")
    ((name, data),) = backup.packs.items()
    made = empty_job(tmp_path)
    Partition(Path(made.records), backup.packs)
    env = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    argv = [sys.executable, "-c", started(made, name, data)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as program:
        assert program.stdout
        writer = int(program.stdout.readline())
        assert not ended(writer)
        program.kill()
    deadline = time.monotonic() + 60
    while not ended(writer):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_extract_worker_waiting_for_records_is_stopped_by_a_thread(root: Path, tmp_path: Path) -> None:
    (root / "larger").write_bytes(bytes(40 * BLOCK))  # more than fits into the shared memory
    backup = take(root)
    made = empty_job(tmp_path)
    Partition(Path(made.records), backup.packs)
    ((name, data),) = backup.packs.items()
    with unpacker() as process, ThreadPoolExecutor(1) as pool:
        process.begin(made)
        waiting = pool.submit(process.unpack, name, from_bytes(data))
        time.sleep(0.1)  # mostly the thread waits then; otherwise it meets the end elsewhere
        process.stop()
        with pytest.raises(ToolError, match="was killed by SIGTERM"):
            waiting.result()
