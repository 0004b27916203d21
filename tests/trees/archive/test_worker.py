"""A tree read, and packs written, by processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError, IntegrityError, ToolError, UsageError
from igny8_backup.streams import BLOCK
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.trees.archive.client import Job, tree_reader
from igny8_backup.trees.archive.client import Report as ReadReport
from igny8_backup.trees.archive.worker import PROGRESS_FILES
from igny8_backup.trees.extract.client import Job as UnpackJob
from igny8_backup.trees.extract.client import Report, unpacker
from igny8_backup.trees.extract.partition import Partition
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.index import index
from igny8_backup.trees.worker_protocol import start_worker
from tests.trees.tools import Backup, look, stream, take

BACKUP_ID = "20261122T021500Z-7f3a9c"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_bytes(b"alpha")
    (root / "sub" / ("n" * 120)).touch()
    (root / "sub" / "large").write_bytes(os.urandom(3 * BLOCK))
    Path(os.fsdecode(os.fsencode(root) + b"/odd \xff\n")).write_bytes(b"odd")
    os.symlink(b"a", root / "link")
    os.mkfifo(root / "fifo")
    return root


def job(root: Path, folder: Path, **more: object) -> Job:
    folder.mkdir(exist_ok=True)
    files = {name: str(folder / name) for name in ("index", "folders")}
    return Job(root=str(root), backup_id=BACKUP_ID, **files, **more)  # type: ignore[arg-type]


def read(job: Job) -> dict[str, bytes]:
    return read_and_report(job)[0]


def read_and_report(job: Job) -> tuple[dict[str, bytes], ReadReport]:
    with tree_reader() as reader:
        return {name: b"".join(map(bytes, blocks)) for name, blocks in reader.read(job)}, reader.report


def test_archive_worker_progress_includes_unchanged_files(root: Path, tmp_path: Path) -> None:
    for number in range(PROGRESS_FILES):
        (root / f"small-{number}").write_bytes(b"x")
        os.utime(root / f"small-{number}", (1, 1))
    time.sleep(2.1)  # until their times are trusted
    first = job(root, tmp_path / "first")
    told: list[tuple[int, int]] = []
    for made in (first, job(root, tmp_path / "second", parent_index=first.index)):
        told.clear()
        with tree_reader() as reader:
            packs = reader.read(made, on_progress=lambda *now: told.append(now))
            stored = sum(len(b"".join(blocks)) for _, blocks in packs)
        assert len(told) >= 2 and told[-1] == (PROGRESS_FILES + 4, PROGRESS_FILES + 3 * BLOCK + 8)
        assert told == sorted(told)
    assert stored == 0


def test_archive_worker_result_equals_pack_writer(root: Path, tmp_path: Path) -> None:
    here = take(root)
    made = job(root, tmp_path / "job")
    packs, report = read_and_report(made)
    assert packs == here.packs
    racy = b',"racy":true'  # whether it is so depends on when it was read
    assert Path(made.index).read_bytes().replace(racy, b"") == here.index().replace(racy, b"")
    assert Path(made.folders).read_bytes() == here.folders()
    assert report.kinds == {"file": 4, "dir": 2, "symlink": 1, "hardlink": 0}
    assert report.bytes == 3 * BLOCK + 8
    # At first every byte of a pack is needed, headers and all: else packs of tiny files would seem dead.
    assert report.live_bytes == {name: len(data) for name, data in here.packs.items()}
    assert (report.skipped, report.skipped_total) == ([("fifo", "a FIFO", False)], 1)


def test_archive_worker_with_parent_index_stores_only_changes(root: Path, tmp_path: Path) -> None:
    time.sleep(2.1)
    first = job(root, tmp_path / "first")
    read(first)
    (root / "a").write_bytes(b"other")
    second = job(root, tmp_path / "second", parent_index=first.index)
    ((name, data),) = read(second).items()
    assert name == f"{BACKUP_ID}-0001" and data.count(b"ustar") == 1
    nothing = job(root, tmp_path / "nothing", parent_index=first.index, checksum=True)
    assert len(read(nothing)) == 1


def test_archive_worker_missing_root_raises(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match=r"root cannot be read: No such file or directory\. Create it"):
        read(job(tmp_path / "root", tmp_path / "job"))


def test_archive_worker_unwritable_state_folder_raises(root: Path, tmp_path: Path) -> None:
    made = job(root, tmp_path / "job")
    (tmp_path / "job").rmdir()
    with pytest.raises(FilesError, match="The state folder .* cannot be written: No such file or directory"):
        read(made)


def test_archive_worker_crash_raises(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="exit status 1"):
        read(job(root, tmp_path / "job", excluded=7))


def test_archive_worker_killed_raises(root: Path, tmp_path: Path) -> None:
    (root / "larger").write_bytes(bytes(40 * BLOCK))  # more than it can hand on before we take it
    with tree_reader() as reader:
        _, blocks = next(reader.read(job(root, tmp_path / "job")))
        next(blocks)
        # Other tests may have left servers of their own among the children.
        (worker,) = [
            int(number)
            for path in Path("/proc/self/task").glob("*/children")
            for number in path.read_text().split()
            if b"archive.worker" in Path("/proc", number, "cmdline").read_bytes()
        ]
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ToolError, match="was killed by SIGKILL"):
            b"".join(blocks)


def test_archive_worker_damaged_parent_index_raises(root: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_bytes(b"not an index")
    with pytest.raises(IntegrityError, match="a line that is not JSON"):
        read(job(root, tmp_path / "job", parent_index=str(tmp_path / "known")))


def test_archive_worker_left_early_is_stopped(root: Path, tmp_path: Path) -> None:
    with tree_reader() as reader:
        _, blocks = next(reader.read(job(root, tmp_path / "job")))
        next(blocks)
    # the fixture of all tests looks for children left behind


def test_archive_worker_without_job_is_stopped() -> None:
    with pytest.raises(UsageError), tree_reader():
        raise UsageError("Nothing to read.")


def test_archive_worker_input_closed_fails() -> None:
    with (
        pytest.raises(ToolError, match="exit status 1: The input ended before the job was done"),
        start_worker("igny8_backup.trees.archive.worker") as worker,
    ):
        worker.close_input()
        worker.result()


def empty_job(tmp_path: Path) -> UnpackJob:
    (tmp_path / "spool").mkdir()
    (tmp_path / "side").mkdir(0o700)
    return UnpackJob(staging=str(tmp_path / "side"), records=str(tmp_path / "spool"))


def unpack_job(backup: Backup, tmp_path: Path) -> tuple[UnpackJob, Partition]:
    made = empty_job(tmp_path)
    partition = Partition(tmp_path / "spool", backup.packs)
    partition.add_all(index.read(stream(backup.index())))
    return made, partition


def unpack(made: UnpackJob, packs: dict[str, bytes]) -> Report:
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
    with TreeWriter(tmp_path / "side", on_skip=lambda path, reason: None) as writer:
        writer.finish(partition.non_files())
    (root / "fifo").unlink()
    (root / "a").chmod(0o755)
    assert look(tmp_path / "side") == look(root)


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
    """Whatever ends the process that sends them."""
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
    (tmp_path / "side" / "a").write_bytes(b"in the way")
    with pytest.raises(FilesError, match="'a' cannot be written to the staging folder: File exists"):
        unpack(made, backup.packs)


def started(made: UnpackJob, name: str, data: bytes) -> str:
    """A program that sends a pack, says which process writes it, and goes on living."""
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
    """Even if that is killed, and can tell nobody."""
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
    (root / "larger").write_bytes(bytes(40 * BLOCK))  # more than is sent before any of it is taken
    backup = take(root)
    made = empty_job(tmp_path)
    Partition(Path(made.records), backup.packs)
    ((name, data),) = backup.packs.items()
    with unpacker() as process, ThreadPoolExecutor(1) as pool:
        process.begin(made)
        waiting = pool.submit(process.unpack, name, from_bytes(data))
        time.sleep(0.1)  # mostly it waits then; if not, it meets its end elsewhere
        process.stop()
        with pytest.raises(ToolError, match="was killed by SIGTERM"):
            waiting.result()


def test_workers_do_not_import_django() -> None:
    code = "import sys, igny8_backup.trees.archive.worker, igny8_backup.trees.extract.worker\n"
    code += "import igny8_backup.trees.extract.partition_process\n"
    code += "assert not any(name.split('.')[0] in ('django', 'dbbackup') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})
