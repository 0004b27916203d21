"""What would stop a swap is found by trying each child, which moves nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError, UnfinishedError
from igny8_backup.trees.fs.left_alone import TRIAL, left_alone
from igny8_backup.trees.fs.linux import IMMUTABLE, attributes
from igny8_backup.trees.swap.blockers import find_blockers, trial_folder
from igny8_backup.trees.swap.plan import plan_swap
from igny8_backup.trees.swap.swap import exchange, state, undo
from igny8_backup.trees.swap.target import make_staging
from tests.services import unavailable
from tests.trees.swap.swapcase import STAMP, Case
from tests.trees.tools import IS_ROOT, NOBODY, in_child, look

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root sets such attributes, mounts or owners")


def call(*argv: object) -> None:
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        unavailable(f"{argv[0]}: {done.stderr.strip()}")


@contextmanager
def marked(path: Path, mark: str) -> Iterator[None]:
    """Set an attribute of chattr(1): ``i`` or ``a``."""
    if not shutil.which("chattr"):
        unavailable("chattr is not installed.")
    call("chattr", f"+{mark}", path)
    try:
        yield
    finally:
        call("chattr", f"-{mark}", path)


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """A root on an overlay file system: the folder ``lower`` and the file ``page`` come from below."""
    for name in ("below", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "below" / "lower").mkdir()
    (tmp_path / "below" / "lower" / "file").write_text("below")
    (tmp_path / "below" / "page").write_text("below")
    layers = f"lowerdir={tmp_path}/below,upperdir={tmp_path}/upper,workdir={tmp_path}/work,redirect_dir=off"
    call("mount", "-t", "overlay", "overlay", "-o", layers, tmp_path / "root")
    try:
        (tmp_path / "root" / "upper").mkdir()
        yield tmp_path / "root"
    finally:
        call("umount", tmp_path / "root")


def texts(root: Path) -> list[str]:
    """Return the blockers; assert that looking for them has changed nothing."""
    before, of_root = look(root), root.stat().st_mtime_ns
    found = list(map(str, find_blockers(root, ())))
    assert (look(root), root.stat().st_mtime_ns) == (before, of_root)
    return found


def test_find_blockers_of_movable_children_is_empty(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (case.root / "unreadable").mkdir(mode=0)
    os.mkfifo(case.root / "fifo")
    assert texts(case.root) == []


@needs_root
def test_find_blockers_names_folders_of_a_lower_layer(overlay: Path) -> None:
    (text,) = texts(overlay)
    assert f"'lower' in {overlay} lies in a lower layer of an overlay file system" in text
    assert "extract_backup --to-dir" in text
    with pytest.raises(FilesError, match="'lower' in .* lies in a lower layer"):
        plan_swap(overlay, make_staging(overlay, STAMP).path)
    shutil.rmtree(overlay / "lower")
    (overlay / "lower").mkdir()
    assert texts(overlay) == [], "now it is in the upper layer"


@needs_root
@pytest.mark.parametrize("kind", [Path.mkdir, Path.touch], ids=["folder", "file"])
@pytest.mark.parametrize("mark, text", [("i", "is immutable"), ("a", "can only be appended to")])
def test_find_blockers_names_marked_children_and_the_command(
    tmp_path: Path, kind: Callable[[Path], None], mark: str, text: str
) -> None:
    case = Case(tmp_path)
    kind(case.root / "it's")
    with marked(case.root / "it's", mark):
        (found,) = texts(case.root)
        with pytest.raises(FilesError, match=text):
            case.planned()
    assert found.startswith(f"{case.root}/it's {text}")
    assert f"chattr -{mark} '{case.root}/it'\"'\"'s'" in found
    assert texts(case.root) == []


@needs_root
@pytest.mark.parametrize("mark", ["i", "a"])
def test_find_blockers_of_a_marked_root_makes_nothing_in_it(tmp_path: Path, mark: str) -> None:
    case = Case(tmp_path)
    with marked(case.root, mark):
        (found,) = texts(case.root)
    assert f"chattr -{mark} {case.root}" in found


@needs_root
def test_find_blockers_names_mounted_children(tmp_path: Path) -> None:
    case = Case(tmp_path)
    call("mount", "--bind", case.root / "dir", case.root / "dir")
    try:
        assert [text.split(": ")[0] for text in texts(case.root)] == [
            f"{case.root}/dir is a mount point, which a swap cannot move"
        ]
    finally:
        call("umount", case.root / "dir")


@needs_root
def test_find_blockers_names_children_of_others_under_a_sticky_bit(nobodys: Path) -> None:
    os.chown(nobodys, 0, 0)
    nobodys.chmod(0o1777)
    (nobodys / "of root").mkdir(mode=0o777)
    (nobodys / "file of root").touch()
    (nobodys / "own").touch()
    os.chown(nobodys / "own", NOBODY, NOBODY)
    found = in_child(lambda: "\n".join(map(str, find_blockers(nobodys, ()))), as_nobody=True)
    assert found.count("the sticky bit: restore as root or as that user") == 2
    assert "'of root'" in found and "'file of root'" in found and "'own'" not in found
    assert texts(nobodys) == [], "root may move them"


def test_find_blockers_names_folders_that_cannot_be_written(nobodys: Path) -> None:
    def work() -> str:
        (nobodys / "folder").mkdir(mode=0o555)
        return "\n".join(map(str, find_blockers(nobodys, ())))

    assert "is not writable for this user: restore as root" in in_child(work, as_nobody=True)


def test_find_blockers_names_a_file_system_that_gives_files_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS with root_squash, FAT: the staging folder would belong to somebody else."""
    case, user = Case(tmp_path), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    (text,) = texts(case.root)
    assert f"belong to the user with id {user} instead of this user" in text


def test_trial_folder_of_a_killed_plan_is_left_alone(tmp_path: Path) -> None:
    """A folder of such a name that holds data is not: somebody could hide data in it."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with trial_folder(fd):
            (name,) = map(os.fsencode, os.listdir(fd))
            assert name.startswith(TRIAL) and name in left_alone(fd, [name], ())
            (tmp_path / os.fsdecode(name) / "data").touch()
            assert not left_alone(fd, [name], ())
            (tmp_path / os.fsdecode(name) / "data").unlink()
            (tmp_path / os.fsdecode(name) / "taken" / "file").write_text("data")
            assert not left_alone(fd, [name], ())
        assert os.listdir(fd) == []
    finally:
        os.close(fd)


def test_find_blockers_moves_back_what_a_file_system_moved_against_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path)
    rename = os.rename

    def replace(source: bytes, target: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if target == b"taken":
            shutil.rmtree(target, dir_fd=dst_dir_fd)
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", replace)
    before = look(case.root)
    find_blockers(case.root, ())
    assert look(case.root) == before


@needs_root
def test_exchange_stopped_by_a_marked_child_names_it_and_can_go_back(tmp_path: Path) -> None:
    """The attribute is set after the plan was made."""
    case = Case(tmp_path)
    with marked(case.root / "kind", "i"):
        with pytest.raises(UnfinishedError, match=r"kind is immutable\..* Run chattr -i .*undo_restore"):
            exchange(case.plan)
        assert state(case.plan) == "mixed"
        undo(case.plan)
        fd = os.open(case.root, os.O_RDONLY)
        assert attributes(fd, b"kind") == IMMUTABLE
        os.close(fd)
    case.assert_old()
    exchange(case.plan)
    case.assert_new()


def test_undo_of_a_swap_that_has_not_begun_leaves_later_files_live(tmp_path: Path) -> None:
    """Both trees are empty, so that no child shows how far the swap has come."""
    root = tmp_path / "root"
    root.mkdir()
    plan = plan_swap(root, make_staging(root, STAMP).path)
    (root / "written meanwhile").touch()
    undo(plan)
    assert (root / "written meanwhile").exists()


def test_trial_folder_removes_what_a_killed_plan_left(tmp_path: Path) -> None:
    killed = tmp_path / ".igny8_backup-trial-0123456789abcdef"
    (killed / "taken").mkdir(parents=True)
    (killed / "taken/file").touch()
    data = tmp_path / ".igny8_backup-trial-fedcba9876543210"
    data.mkdir()
    (data / "invoice").write_text("data of the application")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with trial_folder(fd), trial_folder(fd):
            assert not killed.exists()
            assert len(list(tmp_path.iterdir())) == 3, "a plan removed the folder of another one"
    finally:
        os.close(fd)
    assert list(tmp_path.iterdir()) == [data]
