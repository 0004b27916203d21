"""The archive worker: a tree that is read in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from igny8_backup.errors import FilesError, IntegrityError, ToolError, UsageError
from igny8_backup.streams import BLOCK
from igny8_backup.trees.archive.client import Job, tree_reader
from igny8_backup.trees.archive.client import Report as ReadReport
from igny8_backup.trees.archive.events import Progress
from igny8_backup.trees.archive.folders import FoldersTar
from igny8_backup.trees.archive.worker import PROGRESS_FILES, EventWriter
from igny8_backup.trees.index.index import IndexWriter
from igny8_backup.trees.worker_protocol import PROGRESS, Message, start_worker
from tests.trees.tools import take

pytestmark = pytest.mark.slow

BACKUP_ID = "20261122T021500Z-7f3a9c"


def job(root: Path, folder: Path, **more: Any) -> Job:
    folder.mkdir(exist_ok=True)
    files: dict[str, Any] = {name: str(folder / name) for name in ("index", "folders")}
    return Job(root=str(root), backup_id=BACKUP_ID, **files, **more)


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
    reported: list[tuple[int, int]] = []
    for made in (first, job(root, tmp_path / "second", parent_index=first.index)):
        reported.clear()
        with tree_reader() as reader:
            packs = reader.read(made, on_progress=lambda *now: reported.append(now))
            stored = sum(len(b"".join(blocks)) for _, blocks in packs)
        assert len(reported) >= 2 and reported[-1] == (PROGRESS_FILES + 4, PROGRESS_FILES + 3 * BLOCK + 8)
        assert reported == sorted(reported)
    assert stored == 0


class _Sent:
    """The messages that were sent to the parent process."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)


def test_progress_of_a_comparison_is_sent_although_nothing_is_counted(tmp_path: Path) -> None:
    """Otherwise a large file that is only hashed would look like a stall."""
    sent = _Sent()
    with open(tmp_path / "index", "wb") as index_file, open(tmp_path / "folders", "wb") as folders:
        writer = EventWriter(IndexWriter(index_file), FoldersTar(folders), cast(Any, sent))
        for _ in range(2):
            writer(Progress(3, 5))
    assert sent.messages == [Message(PROGRESS, 3, 5)]


def test_archive_worker_result_equals_pack_writer(root: Path, tmp_path: Path) -> None:
    here = take(root)
    made = job(root, tmp_path / "job")
    packs, report = read_and_report(made)
    assert packs == here.packs
    racy = b',"racy":true'  # that depends on the time of reading
    assert Path(made.index).read_bytes().replace(racy, b"") == here.index().replace(racy, b"")
    assert Path(made.folders).read_bytes() == here.folders()
    assert report.kinds == {"file": 4, "dir": 2, "symlink": 1, "hardlink": 0}
    assert report.bytes == 3 * BLOCK + 8
    # At first every byte of a pack is needed, headers included: else packs of tiny files would seem unneeded.
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
    (root / "larger").write_bytes(bytes(40 * BLOCK))  # more than fits into the shared memory
    with tree_reader() as reader:
        _, blocks = next(reader.read(job(root, tmp_path / "job")))
        next(blocks)
        # Servers of other tests may be among the children.
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
    with pytest.raises(IntegrityError, match=r"a line that is not JSON.*next backup .* reads every file"):
        read(job(root, tmp_path / "job", parent_index=str(tmp_path / "known")))


def test_archive_worker_left_early_is_stopped(root: Path, tmp_path: Path) -> None:
    with tree_reader() as reader:
        _, blocks = next(reader.read(job(root, tmp_path / "job")))
        next(blocks)
    # a fixture of all tests fails for child processes that are left


def test_archive_worker_without_job_is_stopped() -> None:
    with pytest.raises(UsageError), tree_reader():
        raise UsageError("Nothing to read.")


def test_archive_worker_input_closed_fails() -> None:
    with (
        pytest.raises(ToolError, match="exit status 1: The input ended before the job was done"),
        start_worker("igny8_backup.trees.archive.worker") as worker,
    ):
        worker._child.close_stdin()
        worker.result()


def test_workers_do_not_import_django() -> None:
    code = "import sys, igny8_backup.trees.archive.worker, igny8_backup.trees.extract.worker\n"
    code += "assert not any(name.split('.')[0] in ('django', 'dbbackup') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})
