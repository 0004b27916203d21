"""File systems that lack a feature: the calls fail in a child process as they fail there."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from igny8_backup.common.filesystem import replace_file, try_lock
from tests.management.state import of_project
from tests.services.project import Project
from tests.services.shim import build_shim, refusing

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="The library that fails is compiled here.")

LOCK = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from igny8_backup.errors import BackupError
from igny8_backup.locks.host import file_lock

class Named:
    def identity(self): return "the store"
    def describe(self): return "the store"

try:
    with file_lock(Named(), Path(sys.argv[1]), doing="a run", now=datetime.now(UTC)):
        print("locked")
except BackupError as error:
    print(type(error).__name__, error)
"""
IDENTITY = """
import sys
from pathlib import Path
from igny8_backup.errors import BackupError
from igny8_backup.streams.age import load_identities
try:
    print(len(load_identities(Path(sys.argv[1], "key"))), "read")
except BackupError as error:
    print(type(error).__name__)
"""
SYNC = """
import sys
from pathlib import Path
from igny8_backup.common.filesystem import sync, sync_folder
try:
    with Path(sys.argv[1], "file").open("w") as file:
        sync(file.fileno())
    sync_folder(sys.argv[1])
except OSError as error:
    print(type(error).__name__)
else:
    print("written")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


def run(program: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, folder],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )
    return done.stdout


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.ENOTTY, errno.EOPNOTSUPP, errno.EIO])
def test_file_lock_flock_refused_is_not_another_run(number: int, library: Path, tmp_path: Path) -> None:
    said = run(LOCK, tmp_path, refusing(library, flock=number))
    assert said == (
        f"FilesError Files in {tmp_path} cannot be locked: {os.strerror(number)}. Nothing was changed. Set"
        " IGNY8_BACKUP['STATE_DIR'] to a folder whose file system has locks (flock), such as a local disk.\n"
    )


def test_file_lock_held_names_another_run(library: Path, tmp_path: Path) -> None:
    said = run(LOCK, tmp_path, refusing(library, flock=errno.EWOULDBLOCK))
    assert said.startswith("LockedError Another run is using the store")


def test_try_lock_of_a_held_file_returns_false(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w") as first, open(tmp_path / "lock", "w") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno())
        assert not try_lock(second.fileno(), shared=True)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS])
def test_sync_unsupported_is_ignored(number: int, library: Path, tmp_path: Path) -> None:
    assert run(SYNC, tmp_path, refusing(library, fsync=number)) == "written\n"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_sync_failed_is_an_error(number: int, library: Path, tmp_path: Path) -> None:
    assert run(SYNC, tmp_path, refusing(library, fsync=number)) == "OSError\n"


@pytest.mark.parametrize(("mount", "shown"), [({}, "IdentityError"), ({"SHIM_read_only": "1"}, "1 read")])
def test_identity_open_to_others_is_read_from_a_read_only_mount(
    mount: dict[str, str], shown: str, library: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    key.chmod(0o644)
    assert run(IDENTITY, tmp_path, {**refusing(library), **mount}) == f"{shown}\n"


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.EOPNOTSUPP])
def test_backup_and_restore_on_a_poor_file_system_succeed(
    number: int, library: Path, project: Project
) -> None:
    project.seed_small()
    before = of_project(project)
    environment = refusing(library, fsync=number, syncfs=number, link=number, renameat2=number, fchmod=number)
    project.run("backup_sites", "uploads", env=environment, check=True)
    shutil.rmtree(project.uploads)
    project.uploads.mkdir()
    restored = project.run(
        "restore_all", "--only", "uploads", "--noinput", "--identity", project.identity, env=environment
    )
    assert restored.returncode in (0, 3), restored.stderr  # modes cannot be set there
    after = of_project(project)
    assert after.keys() == before.keys()


def test_replace_file_leaves_a_private_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "state" / "note.json"
    for content in (b"old", b"new"):
        replace_file(file, content)
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [item.name for item in file.parent.iterdir()] == ["note.json"]


def test_replace_file_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    taken = tmp_path / "note.json"
    taken.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(taken, b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["note.json"]


def test_replace_file_creates_private_folders_only(tmp_path: Path) -> None:
    replace_file(tmp_path / "a" / "b" / "file", b"x")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/file")] == [
        0o700,
        0o700,
        0o600,
    ]
