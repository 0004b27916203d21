"""Swaps of two trees: carried out, undone, and while the application goes on writing."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import FilesError, UnfinishedError
from igny8_backup.trees.swap.keep import keep
from igny8_backup.trees.swap.plan import SwapPlan, plan_swap
from igny8_backup.trees.swap.swap import exchange, state, undo
from igny8_backup.trees.swap.target import SwapTarget, make_staging
from tests.trees.swap.swapcase import STAMP, WAYS, Case, of_root, seen
from tests.trees.swap.test_killed import killed_at
from tests.trees.tools import ACL, IS_ROOT, in_child, take


@WAYS
def test_exchange_then_reversed_restores_the_old_tree(tmp_path: Path, renames_only: bool) -> None:
    case = Case(tmp_path)
    assert state(case.plan) == "old"
    exchange(case.plan, renames_only=renames_only)
    case.assert_new()
    exchange(case.plan.reversed(), renames_only=renames_only)
    case.assert_old()
    exchange(case.plan, renames_only=renames_only)
    undo(case.plan)
    case.assert_old()


@WAYS
def test_exchange_repeated_changes_nothing(tmp_path: Path, renames_only: bool) -> None:
    case = Case(tmp_path)
    for _ in range(2):
        exchange(case.plan, renames_only=renames_only)
        case.assert_new()
    for _ in range(2):
        undo(case.plan)
        case.assert_old()
    undo(case.plan.reversed())
    case.assert_old()


@pytest.mark.parametrize("change", ["added", "removed", "replaced", "added to the staging"])
def test_exchange_root_changed_since_plan_raises(tmp_path: Path, change: str) -> None:
    case = Case(tmp_path)
    if change == "removed":
        (case.root / "file").unlink()
    else:
        ((case.staging if "staging" in change else case.root) / "added").touch()
    if change == "replaced":
        (case.root / "added").replace(case.root / "file")
    changed = seen(case.root)
    with pytest.raises(FilesError, match="not those for which the swap was planned"):
        exchange(case.plan)
    assert seen(case.root) == changed
    exchange(case.planned())
    assert seen(case.root).keys() >= case.new.keys()
    assert seen(case.staging) == changed


def test_undo_moves_later_writes_to_the_staging_folder(tmp_path: Path) -> None:
    """The application writes into the new tree; an undo restores the old tree exactly, and loses nothing."""
    case = Case(tmp_path)
    exchange(case.plan)
    (case.root / "added").write_text("since")
    (case.root / "only-old").write_text("since")  # a name that only the old tree has
    (case.root / "replaced").write_text("since")
    os.replace(case.root / "replaced", case.root / "file")  # a name in both trees
    (case.root / "replaced").write_text("since")
    os.replace(case.root / "replaced", case.root / "only-new")
    shutil.rmtree(case.root / "dir")
    (case.root / "dir").write_text("since")
    written = seen(case.root)
    undo(case.plan)
    assert seen(case.root) == case.old
    assert of_root(case.root) == case.old_root
    assert seen(case.staging) == written
    undo(case.plan)
    assert seen(case.root) == case.old


def test_exchange_child_replaced_during_killed_swap_is_kept(tmp_path: Path) -> None:
    case = Case(tmp_path)
    killed_at(6, lambda on_step: exchange(case.plan, on_step=on_step))  # all children but the last: only-old
    shutil.rmtree(case.root / "only-old")
    (case.root / "other").write_text("amid")
    (case.root / "other").replace(case.root / "only-old")
    assert state(case.plan) == "mixed"
    exchange(case.plan)
    assert seen(case.root) == case.new
    assert (case.staging / "only-old").read_text() == "amid"
    undo(case.plan)
    assert (case.root / "only-old").read_text() == "amid"
    assert seen(case.staging) == case.new


def test_undo_after_application_removed_files_restores_the_old_tree(tmp_path: Path) -> None:
    case = Case(tmp_path)
    exchange(case.plan)
    for name in ("file", "only-new", "link"):
        (case.root / name).unlink()
    undo(case.plan)
    assert seen(case.root) == case.old


def test_undo_repeated_keeps_later_writes(tmp_path: Path) -> None:
    """The undo is repeated because the journal does not record the first one."""
    case = Case(tmp_path)
    exchange(case.plan)
    undo(case.plan)
    (case.root / "added").write_text("since")
    undo(case.plan)
    assert (case.root / "added").read_text() == "since"


def test_exchange_unknown_child_raises_unfinished(tmp_path: Path) -> None:
    case = Case(tmp_path)
    killed_at(1, lambda on_step: exchange(case.plan, on_step=on_step))
    for folder in (case.root, case.staging):
        (folder / "other").write_text("other")  # both first: the inodes of deleted files are used again
    for folder in (case.root, case.staging):
        os.replace(folder / "other", folder / "file")
    assert state(case.plan) == "mixed"
    with pytest.raises(UnfinishedError, match="'file' in .* is neither"):
        exchange(case.plan)


def test_exchange_empty_tree_is_swapped(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("old")
    plan = plan_swap(root, make_staging(root, "20261122T021501Z").path)
    exchange(plan)
    assert (state(plan), seen(root)) == ("new", {})
    undo(plan)
    assert (state(plan), [*seen(root)]) == ("old", [b"file"])
    bare = tmp_path / "bare"
    bare.mkdir()
    plan = plan_swap(bare, make_staging(bare, "20261122T021501Z").path)
    exchange(plan)
    assert state(plan) == "new"
    undo(plan)
    assert state(plan.reversed()) == "old"


def test_keep_renames_staging_folder_and_keeps_root_time(tmp_path: Path) -> None:
    case = Case(tmp_path)
    exchange(case.plan)
    for _ in range(2):
        assert keep(case.plan) == case.root / f".before-{STAMP}"
        case.assert_new()
    assert not case.staging.exists()
    exchange(case.plan)
    undo(case.plan)
    case.assert_old()


def test_keep_existing_previous_tree_raises(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (case.root / f".before-{STAMP}").mkdir()
    with pytest.raises(UnfinishedError, match="cannot be renamed"):
        keep(case.plan)


def test_find_staging_other_folder_of_that_name_raises(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.staging.rename(tmp_path / "gone")
    make_staging(case.root, STAMP)
    for use in (state, exchange, undo, keep):
        with pytest.raises(FilesError, match="is gone"):
            use(case.plan)
    assert seen(case.root) == case.old


def test_swap_plan_round_trip_is_equal(tmp_path: Path) -> None:
    plan = Case(tmp_path).plan
    assert SwapPlan.from_plain(json.loads(json.dumps(plan.to_plain()))) == plan
    assert SwapPlan.from_plain(plan.reversed().to_plain()) == plan.reversed()
    assert plan.reversed().reversed() == plan
    assert any(child.name == b"caf\xe9%\n" for child in plan.children)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"children": [{"name": "../a", "live": 1, "staging": 2}]},
        {"children": [{"name": "a", "live": "1", "staging": 2}]},
        {"children": [{"name": "a", "live": 1}]},
        {"children": 5},
        {"stamp": "../../x"},
        {"old": None},
        {"folder": 7},
        {"staging_inode": "x"},
    ],
)
def test_swap_plan_malformed_raises(tmp_path: Path, broken: dict[str, object]) -> None:
    complete = Case(tmp_path).plan.to_plain()
    with pytest.raises(ValueError, match="cannot be understood"):
        SwapPlan.from_plain({**complete, **broken} if broken else {})


def test_plan_swap_staging_folder_elsewhere_raises(tmp_path: Path) -> None:
    case = Case(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    for staging in (make_staging(other, STAMP).path, case.root / "dir", case.root / "missing", other):
        with pytest.raises(FilesError, match="cannot be swapped"):
            plan_swap(case.root, staging)
    with pytest.raises(FilesError, match="cannot be opened"):
        plan_swap(case.root, case.root / ".igny8_backup-side-20261122T021502Z")
    (case.root / ".igny8_backup-side-20261122T021503Z").symlink_to(other)
    with pytest.raises(FilesError, match="cannot be opened"):
        plan_swap(case.root, case.root / ".igny8_backup-side-20261122T021503Z")


def test_plan_swap_unwritable_child_raises(nobodys: Path) -> None:
    def work() -> str:
        (nobodys / "folder").mkdir()
        (nobodys / "folder").chmod(0o555)
        with pytest.raises(FilesError) as raised:
            plan_swap(nobodys, make_staging(nobodys, "20261122T021501Z").path)
        return str(raised.value)

    assert "is not writable for this user" in in_child(work, as_nobody=True)


@pytest.mark.parametrize("number, kind", [(0, FilesError), (2, UnfinishedError)])
def test_exchange_failure_says_whether_anything_changed(
    nobodys: Path, number: int, kind: type[Exception]
) -> None:
    """The root becomes read-only before change ``number``."""

    def work() -> str:
        case = Case(nobodys / "case")
        left = number

        def on_step(_: str) -> None:
            nonlocal left
            if left == 0:
                case.root.chmod(0o555)
            left -= 1

        with pytest.raises(kind) as raised:
            exchange(case.plan, on_step=on_step)
        case.root.chmod(0o755)
        assert type(raised.value) is kind
        exchange(case.plan)
        case.assert_new()
        return str(raised.value)

    assert "Permission denied" in in_child(work, as_nobody=True)


def test_make_staging_inherits_nothing_from_the_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o2777)
    os.setxattr(tmp_path, "system.posix_acl_default", ACL)
    staging = make_staging(tmp_path, STAMP).path
    assert staging == tmp_path / f".igny8_backup-side-{STAMP}"
    assert staging.stat().st_mode == 0o40700
    (staging / "below").mkdir()
    assert staging.joinpath("below").stat().st_mode & 0o7000 == 0
    assert os.listxattr(staging) == os.listxattr(staging / "below") == []
    with pytest.raises(FilesError, match="File exists"):
        make_staging(tmp_path, STAMP)


def test_exchange_root_attributes_follow_the_tree(tmp_path: Path) -> None:
    case = Case(tmp_path)
    os.setxattr(case.root, "user.which", b"old")
    for xattrs in ((), (("user.new", b"new"),)):
        plan = case.planned(take(case.root).records[0]._replace(xattrs=xattrs))
        exchange(plan)
        assert os.listxattr(case.root) == [name for name, _ in xattrs]
        undo(plan)
        assert os.listxattr(case.root) == ["user.which"]
        assert os.getxattr(case.root, "user.which") == b"old"


@pytest.mark.skipif(not IS_ROOT, reason="only root gives folders away")
def test_exchange_root_of_another_user_keeps_its_mode(nobodys: Path) -> None:
    """A group may write into a root that it does not own: mode and time stay, and are reported."""
    os.chown(nobodys, 0, 65534)
    nobodys.chmod(0o2775)

    def work() -> list[tuple[bytes, str]]:
        (nobodys / "file").write_text("old")
        staging = make_staging(nobodys, "20261122T021501Z").path
        (staging / "file").write_text("new")
        plan = plan_swap(nobodys, staging, plan_swap(nobodys, staging).old._replace(mode=0o711))
        reported: list[tuple[bytes, str]] = []
        exchange(plan, on_skip=lambda path, reason: reported.append((path, reason)))
        assert (nobodys / "file").read_text() == "new"
        return reported

    assert in_child(work, as_nobody=True) == [
        (b"", "its mode and time cannot be set: Operation not permitted")
    ]


@pytest.mark.parametrize("with_root", [False, True])
def test_make_staging_replaced_by_a_symlink_changes_nothing_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_root: bool
) -> None:
    """The owner of the live folder puts a symlink in place of the new staging folder at once."""
    folder, elsewhere = tmp_path / "live", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir(0o755)
    make = os.mkdir

    def make_and_replace(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        make(path, mode, dir_fd=dir_fd)
        os.rename(path, "moved", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.symlink(elsewhere, path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", make_and_replace)
    target = SwapTarget(root=folder / "site" if with_root else folder, stamp=STAMP, swap_root=with_root)
    with pytest.raises(FilesError, match="cannot be created"):
        target.make()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    assert list(elsewhere.iterdir()) == []


@WAYS
def test_exchange_of_children_with_names_of_this_package_swaps_them(
    tmp_path: Path, renames_only: bool
) -> None:
    """A user of the application made folders with such names; no journal knows them."""
    taken = [".before-20201122T021500Z", f".igny8_backup-side-{STAMP[:-2]}1Z", ".igny8_backup-moving-0"]
    root = tmp_path / "root"
    root.mkdir()
    staging = make_staging(root, STAMP).path
    for folder, text in ((root, "old"), (staging, "new")):
        for name in (*taken, "page"):
            (folder / name).write_text(text)
    plan = plan_swap(root, staging)
    assert [child.name for child in plan.children] == sorted(map(os.fsencode, (*taken, "page")))
    for going, text in ((plan, "new"), (plan.reversed(), "old")):
        killed_at(2, lambda on_step: exchange(going, on_step=on_step, renames_only=renames_only))  # noqa: B023 - called at once
        assert state(going) == "mixed"
        exchange(going)
        assert {(root / name).read_text() for name in (*taken, "page")} == {text}


@pytest.mark.skipif(not IS_ROOT, reason="only root owns lost+found")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_exchange_leaves_lost_and_found_alone(tmp_path: Path, mode: int) -> None:
    case = Case(tmp_path)
    (case.root / "lost+found").mkdir()
    (case.root / "lost+found").chmod(mode)
    plan = case.planned()
    exchange(plan)
    assert (case.root / "lost+found").is_dir() and not (case.staging / "lost+found").exists()
    undo(plan)
    assert (case.root / "lost+found").is_dir() and state(plan) == "old"


def test_exchange_swaps_lost_and_found_of_a_tenant(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (case.root / "lost+found").mkdir(mode=0o755)
    (case.root / "lost+found" / "file").touch()
    exchange(case.planned())
    assert (case.staging / "lost+found" / "file").exists() and not (case.root / "lost+found").exists()
