"""RESTORE_USER: as root, another user writes the files of a restore, and root gives them their owners."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import BackupError, FilesError, IntegrityError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.streams.account import find_account
from igny8_backup.trees.extract.handover import handed_over
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.safe_dirs import MadeFolder
from igny8_backup.trees.model.records import Record
from tests.operations.restore.test_tree import children

USER = "nobody"
UID = pwd.getpwnam(USER).pw_uid

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="Only root may run programs as another user."),
]


@pytest.fixture
def as_nobody(context: BackupContext, trees: tuple[Path, Path]) -> BackupContext:
    """A context with RESTORE_USER, and a backup of a tree with all kinds of owners and attributes."""
    root = trees[0]
    os.chown(root / "a/page", 1234, 2345)
    (root / "a/page").chmod(0o640)
    os.chown(root / "b", 33, 33)
    (root / "b").chmod(0o2750)
    os.link(root / "b/page", root / "c/linked")
    os.symlink("../a/page", root / "c/symlink")
    os.chown(root / "c/symlink", 77, 78, follow_symlinks=False)
    os.setxattr(root / "c/page", "user.origin", b"somewhere")
    (root / "empty").mkdir(mode=0o711)
    (root / "set-id").write_text("runs as its owner")
    os.chown(root / "set-id", 33, 33)
    (root / "set-id").chmod(0o4755)
    (root / "b/moved").write_bytes(b"x" * 5000)
    assert run_backup(context, BackupRequest(trees=("sites",))).complete
    (root / "b/moved").rename(root / "a/renamed")
    (root / "c/copied").write_bytes(b"x" * 5000)
    (root / "c/copied").chmod(0)
    assert run_backup(context, BackupRequest(trees=("sites",))).complete
    return replace(context, config=replace(context.config, restore_user=USER))


def users_of(process: str) -> set[str]:
    (line,) = re.findall(r"(?m)^Uid:\s(.*)$", Path(f"/proc/{process}/status").read_text())
    return set(line.split())


def workers() -> set[str]:
    """Return the child processes that write files."""
    lines = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children()}
    return {child for child, line in lines.items() if b"igny8_backup.trees.extract.worker" in line}


class Watched:
    """A progress that waits until the processes that write files run as the user."""

    def __init__(self) -> None:
        self.seen = 0

    def advance(self, amount: int, count: int = 0) -> None:
        end = time.monotonic() + 60
        while {user for child in workers() for user in users_of(child)} != {str(UID)}:
            assert time.monotonic() < end
            time.sleep(0.02)
        self.seen += amount

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None: ...

    def end(self) -> None: ...

    def note(self, text: str) -> None: ...


def described(root: Path) -> dict[str, Any]:
    """Return what every file and folder below ``root`` is, with owner, mode, time and attributes."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        contents = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path, follow_symlinks=False)}
        facts = (status.st_uid, status.st_gid, oct(status.st_mode), status.st_mtime_ns, status.st_nlink)
        found[str(path.relative_to(root))] = (*facts[: 5 if path.is_file() else 4], contents, xattrs)
    return found


def test_another_user_writes_the_files_and_root_restores_their_owners(
    as_nobody: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    before, watched = described(trees[0]), Watched()
    context = replace(as_nobody, progress=watched)
    run_extract(
        context,
        plan_extract(context, ExtractRequest(only="sites", to_dir=tmp_path / "new", allow_set_id=True)),
    )
    assert watched.seen
    assert described(tmp_path / "new/sites") == before
    assert (tmp_path / "new/sites").stat().st_uid == 0

    shutil.rmtree(trees[0] / "a")
    RestoreSession(context).execute(plan_restore(context, RestoreRequest(only="sites")))
    set_id = list(before.pop("set-id"))
    set_id[2] = oct(0o100755)  # without --allow-set-id
    live = {path: facts for path, facts in described(trees[0]).items() if not path.startswith(".before")}
    assert live == {**before, "set-id": tuple(set_id)}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("igny8_backup-")]


def symlinked(path: Path, other: Path) -> None:
    path.symlink_to(other)


def hard_linked(path: Path, other: Path) -> None:
    os.chown(other, UID, 0)
    os.link(other, path)


def fifo(path: Path, other: Path) -> None:
    os.mkfifo(path)
    os.chown(path, UID, 0)


def of_root(path: Path, other: Path) -> None:
    path.write_bytes(b"four")


@pytest.mark.parametrize("plant", [symlinked, hard_linked, fifo, of_root])
def test_root_gives_away_no_file_that_the_user_did_not_write(
    plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    """Somebody who has taken over a worker puts something else in the place of a file before it ends."""
    staging, other = tmp_path / "staging", tmp_path / "other"
    staging.mkdir()
    other.write_bytes(b"four")
    plant(staging / "page", other)
    record = Record(b"page", "file", 0o666, 1234, 1234, "", "", 4, 1, 1, 1)
    with (
        closing(TreeWriter(staging, on_skip=lambda path, reason: None)) as writer,
        pytest.raises(BackupError) as raised,
    ):
        writer.take_over([record], UID)
    assert isinstance(raised.value, IntegrityError | FilesError)
    assert other.stat().st_uid != 1234 and other.stat().st_mode & 0o777 != 0o666


def test_folder_on_a_file_system_without_owners_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise every file would seem to be damaged, because it does not belong to the user."""
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: None)
    account = find_account(USER)
    assert account
    with (
        pytest.raises(FilesError, match="cannot be given .*keeps its owner.*Remove RESTORE_USER"),
        handed_over(account, MadeFolder(tmp_path, tmp_path), tmp_path),
    ):
        pass
