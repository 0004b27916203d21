"""Trees that are missing, unreadable, or change during the backup.

Other tests cover: an unknown tree or id (tests/management/test_errors.py); a missing tree next to a complete
database, and too deep folders (tests/operations/backup/test_partial.py); single changes at each moment of
reading (tests/trees/scan/test_scan.py, tests/trees/archive/test_packs_changing.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from igny8_backup.trees.model.skips import NO_FAILURE
from tests.bad_input.conftest import Ground
from tests.bad_input.outcome import Case, assert_one_line, fail, nothing_changes
from tests.bad_input.rights import AS_ANYBODY, run_as_anybody
from tests.docs.pages import messages
from tests.management.commands import Done, run_many
from tests.services.project import Project

MIB = 1 << 20
SECONDS = 120
FIX = "Create it, give this user access to it, or remove it from the settings."


def test_backup_of_tree_that_is_no_folder_fails(ground: Ground, tmp_path: Path) -> None:
    gone, file, loop = tmp_path / "gone", tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    reasons = {
        gone: "No such file or directory",
        file: "Not a directory",
        loop: "Too many levels of symbolic links",
    }
    fail(
        ground.project,
        *(
            Case(
                ["backup_sites"],
                1,
                f"The folder {root} cannot be read: {reason}.",
                "No backup was recorded.",
                FIX,
                settings={"SITES": {"site": str(root)}},
                shown=root == gone,
            )
            for root, reason in reasons.items()
        ),
    )


def test_backup_of_unreadable_tree_fails(ground: Ground) -> None:
    root = ground.project.uploads
    mode = root.stat().st_mode
    root.chmod(0)
    try:
        done = run_as_anybody(ground.project, "backup_sites", "uploads")
    finally:
        root.chmod(mode)
    with nothing_changes(ground.project):
        pass
    assert_one_line(
        done,
        1,
        what=f"The folder {root} cannot be read: Permission denied.",
        unchanged="No backup was recorded.",
        hint=FIX,
    )


@pytest.fixture
def walked(project: Project) -> Project:
    """A project with a tree whose first file is large, and files that change while it is read."""
    (project.uploads / "a-large").write_bytes(os.urandom(64 * MIB))
    later = project.uploads / "z"
    later.mkdir()
    for name in ("changed", "gone", "kept", "refused", "to-fifo"):
        (later / name).write_text(f"{name} as it was\n")
    (later / "refused").chmod(0)
    os.mkfifo(later / "fifo")
    (later / "to-symlink").mkdir()
    (later / "to-symlink" / "page").write_text("as it was\n")
    outside = project.folder / "outside"
    outside.mkdir()
    (outside / "page").write_text("a secret of another user\n")
    return project


def wait_until_open(process: subprocess.Popen[str], path: Path) -> int:
    """Wait until the archive worker has opened the file, and stop the worker."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for reader in map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
            if path in opened(reader):
                os.kill(reader, signal.SIGSTOP)
                while Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                    time.sleep(0.001)
                assert path in opened(reader), "it was read too fast: make it larger"
                return reader
    raise AssertionError(f"{path} was never opened")


def opened(pid: int) -> set[Path]:
    found = set()
    with suppress(FileNotFoundError):  # the process is ending
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                found.add(Path(os.readlink(f"/proc/{pid}/fd/{name}")))
    return found


def test_backup_of_changing_tree_succeeds(walked: Project) -> None:
    """With all kinds of changes at once, complete files are stored and others are listed."""
    root = walked.uploads
    later = root / "z"
    with walked.start("backup_sites", "uploads", "--json", under=AS_ANYBODY) as process:
        reader = wait_until_open(process, root / "a-large")
        with open(root / "a-large", "ab") as file:
            file.write(b"more")
        (later / "gone").unlink()
        (later / "to-fifo").unlink()
        os.mkfifo(later / "to-fifo")
        (later / "to-symlink" / "page").unlink()
        (later / "to-symlink").rmdir()
        (later / "to-symlink").symlink_to(walked.folder / "outside")
        os.kill(reader, signal.SIGCONT)
        out, err = process.communicate(timeout=SECONDS)
    done = Done(["backup_sites"], process.returncode, out, err).ended(3)
    assert err.endswith("CommandError: Completed with problems; see above.\n")
    skipped = {item["path"]: item["reason"] for item in done.json["skipped"]}
    assert "a-large" not in skipped, "it was read again"
    assert skipped["z/refused"] == "cannot be read: Permission denied"
    assert skipped["z/fifo"] == "a FIFO"
    listed = {line for line in err.splitlines() if "z/refused" in line or "z/gone" in line}
    assert listed <= set(messages().splitlines())
    failures = {path: reason for path, reason in skipped.items() if reason not in NO_FAILURE}
    assert all(f"uploads: {path}: {reason}" in err for path, reason in failures.items())
    later_seen = set(skipped) - {"z/refused", "z/fifo"}
    # The scan is ahead of the reading, so a file that changed in between is listed by its path in the scan.
    assert later_seen <= {"z/gone", "z/to-fifo", "z/to-symlink", "z/to-symlink/page", "z"}, skipped

    # Every stored file is complete and can be restored. The folder outside the tree was not read.
    (restored,) = run_many(
        walked, ["restore_all", "--only", "uploads", "--noinput", "--identity", walked.identity]
    )
    restored.ended(0)
    assert (later / "kept").read_text() == "kept as it was\n"
    assert (root / "a-large").stat().st_size == 64 * MIB + len("more")
    link = later / "to-symlink"
    assert link.is_symlink() or not (link / "page").exists() or "secret" not in (link / "page").read_text()
    assert not (later / "refused").exists() and not (later / "fifo").exists()
