"""What stops the files of a restore at its end is found in its plan, or at the latest before any swap."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from igny8_backup.errors import FilesError, RefusedError, UnfinishedError
from igny8_backup.formats.details import TreeDetails
from igny8_backup.journal import UNDONE
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.planning.preflight import name_blockers
from igny8_backup.operations.restore.planning.space import space_blockers
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.operations.undo.run import undo
from igny8_backup.signals import phase_started
from igny8_backup.trees.swap.blockers import is_case_insensitive
from tests.management import state
from tests.management.commands import Command, run_many
from tests.operations.conftest import Notes, Saved
from tests.operations.restore.test_swaps import NEW, OLD, pages, stopped_in_the_swap
from tests.services.disk import limited_subvolume, small_disk
from tests.trees.swap.test_blockers import call, marked, needs_root

pytestmark = pytest.mark.slow

FILES_ONLY = RestoreRequest(only="files")


def changed(context: BackupContext, trees: tuple[Path, Path]) -> None:
    """Back up both trees, then change every file."""
    assert run_backup(context, BackupRequest(trees=("sites", "uploads"))).complete
    for root in trees:
        for page in root.glob("*/page"):
            page.write_text(f"{root.name} {page.parent.name} {OLD}")


@needs_root
def test_plan_names_children_that_cannot_be_moved(context: BackupContext, trees: tuple[Path, Path]) -> None:
    changed(context, trees)
    with marked(trees[1] / "b", "i"):
        plan = plan_restore(context, FILES_ONLY)
        assert plan.blockers == (f"{trees[1]}/b is immutable: run chattr -i {trees[1]}/b.",)
        with pytest.raises(RefusedError, match="chattr -i"):
            RestoreSession(context).execute(plan)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2
    assert plan_restore(context, FILES_ONLY).blockers == ()


@needs_root
def test_restore_with_many_blockers_names_some(context: BackupContext, trees: tuple[Path, Path]) -> None:
    changed(context, trees)
    for number in range(15):
        (trees[0] / f"{number:02}").touch()
    names = [str(path) for path in trees[0].iterdir()]
    call("chattr", "+i", *names)
    try:
        blockers = plan_restore(context, FILES_ONLY).blockers
    finally:
        call("chattr", "-i", *names)
    assert len(blockers) == 11 and "8 more files and folders in" in blockers[-1]


@needs_root
def test_restore_finds_a_blocked_tree_before_any_tree_is_swapped(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    """The last tree is blocked once the plan is made, so that the first one would be swapped alone."""
    changed(context, trees)
    plan = plan_restore(context, FILES_ONLY)

    def block(phase: str, **_: object) -> None:
        if phase == "swap":
            call("chattr", "+i", trees[1] / "c")

    phase_started.connect(block)
    try:
        with pytest.raises(FilesError, match="c is immutable") as raised:
            RestoreSession(context).execute(plan)
    finally:
        phase_started.disconnect(block)
        call("chattr", "-i", trees[1] / "c")
    assert not isinstance(raised.value, UnfinishedError) and "chattr -i" in str(raised.value)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2
    assert context.journals.all() == []


@needs_root
def test_restore_finds_a_blocked_tree_before_databases_are_swapped(saved: Saved) -> None:
    """BEFORE_RESTORE blocks a tree after the plan was made and confirmed."""
    project = saved.project
    (project.uploads / "blocked").touch()
    before = state.of_project(project)
    hook = {"BEFORE_RESTORE": [["chattr", "+i", str(project.uploads / "blocked")]]}
    try:
        (done,) = run_many(project, Command(saved.restore, hook))
    finally:
        call("chattr", "-i", project.uploads / "blocked")
    assert "blocked is immutable" in done.ended(1).stderr and "chattr -i" in done.stderr
    assert "The live tree was not changed" in done.stderr
    assert state.differences(before, state.of_project(project)) == []
    (project.uploads / "blocked").unlink()


@needs_root
@pytest.mark.parametrize("after", [1, 2])
def test_undo_of_a_half_done_swap_goes_straight_back(
    context: BackupContext, trees: tuple[Path, Path], after: int
) -> None:
    """The way forward is blocked in both trees; the way back needs nothing that is blocked."""
    changed(context, trees)
    stopped_in_the_swap(context, plan_restore(context, FILES_ONLY), after=after)
    with marked(trees[0] / "c", "i"), marked(trees[1] / "a", "i"):
        with pytest.raises(UnfinishedError, match="is immutable"):
            RestoreSession(context).settle()
        (trees[1] / "written meanwhile").touch()
        journal = undo(context).journal
    assert journal.phase == UNDONE
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2
    assert (trees[1] / "written meanwhile").exists()
    assert context.journals.unfinished() is None


@needs_root
def test_undo_finds_a_blocked_tree_before_anything_is_swapped_back(
    context: BackupContext, trees: tuple[Path, Path]
) -> None:
    changed(context, trees)
    journal = RestoreSession(context).execute(plan_restore(context, FILES_ONLY)).journal
    previous = Path(journal.trees[1].previous)
    for blocked in (trees[1] / "b", previous / "b"):
        with marked(blocked, "i"), pytest.raises(FilesError, match=r"b is immutable\. Nothing was changed"):
            undo(context)
        assert [pages(root) for root in trees] == [[NEW] * 3] * 2
    undo(context)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2


@pytest.fixture
def sparse(context: BackupContext, trees: tuple[Path, Path], tmp_path: Path) -> Iterator[Path]:
    """A small disk that holds the tree "sites", whose backup has a sparse file larger than the disk."""
    with open(trees[0] / "a" / "image", "wb") as file:
        file.truncate(100 << 20)
        file.write(b"x")
    assert run_backup(context, BackupRequest(trees=("sites", "uploads"))).complete
    (trees[0] / "a" / "image").unlink()
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        yield disk


def on_disk(context: BackupContext, disk: Path) -> BackupContext:
    sites = {**context.config.sites, "sites": disk / "sites"}
    return replace(context, config=replace(context.config, sites=sites))


def test_restore_of_a_sparse_file_needs_what_it_occupies(context: BackupContext, sparse: Path) -> None:
    moved = on_disk(context, sparse)
    plan = plan_restore(moved, FILES_ONLY)
    assert plan.blockers == () and plan.spaces[0].needed < 1 << 20
    RestoreSession(moved).execute(plan)
    image = (sparse / "sites" / "a" / "image").stat()
    assert image.st_size == (100 << 20) and image.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("paths", [(), ("a/image",)])
def test_extract_of_a_sparse_file_needs_what_it_occupies(
    context: BackupContext, sparse: Path, paths: tuple[str, ...]
) -> None:
    request = ExtractRequest(to_dir=sparse / "new", paths=paths, only="sites")
    plan = plan_extract(context, request)
    assert plan.blockers == ()
    run_extract(context, plan)
    assert (sparse / "new" / "sites" / "a" / "image").stat().st_size == 100 << 20


def test_backup_without_allocated_bytes_needs_all_and_the_estimate_can_be_ignored(
    context: BackupContext, sparse: Path
) -> None:
    """A backup of an earlier release says only how large its files are."""
    moved = on_disk(context, sparse)
    (manifest,) = context.catalog.manifests()
    path = next(Path(context.store.describe().split(" ", 2)[2]).rglob("manifest.json"))
    path.write_text(path.read_text().replace('"allocated": ', '"formerly": '))
    assert manifest.trees[0].allocated is not None
    plan = plan_restore(moved, FILES_ONLY)
    (text,) = plan.blockers
    assert "104.9 MB needed" in text and "give --ignore-space if this estimate is wrong" in text
    extract = ExtractRequest(to_dir=sparse / "new", only="sites")
    assert "--ignore-space" in plan_extract(context, extract).blockers[0]
    assert plan_extract(context, replace(extract, ignore_space=True)).blockers == ()
    plan = plan_restore(moved, replace(FILES_ONLY, ignore_space=True))
    assert plan.blockers == () and any("This is ignored: --ignore-space." in note for note in plan.notes)
    RestoreSession(moved).execute(plan)
    assert (sparse / "sites" / "a" / "image").stat().st_size == 100 << 20


@needs_root
def test_plan_counts_inodes(context: BackupContext, trees: tuple[Path, Path], tmp_path: Path) -> None:
    run_backup(context, BackupRequest(trees=("sites", "uploads")))
    disk = tmp_path / "few"
    disk.mkdir()
    call("mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=5", "tmpfs", disk)
    try:
        plan = plan_restore(on_disk(context, disk), FILES_ONLY)
    finally:
        call("umount", disk)
    (text,) = plan.blockers
    assert "not enough inodes" in text and "7 files and folders" in text and "--ignore-space" in text
    assert [space for space in plan.spaces if space_blockers([space])]


def test_plan_finds_a_quota_that_the_restored_tree_would_exceed(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    (trees[0] / "a" / "large").write_bytes(os.urandom(6 << 20))
    run_backup(context, BackupRequest(trees=("sites", "uploads")))
    with limited_subvolume(tmp_path / "disk", 4 << 20) as disk:
        moved = on_disk(context, disk)
        (text,) = plan_restore(moved, FILES_ONLY).blockers
        assert "for sites cannot be reserved in" in text and "Disk quota exceeded (EDQUOT). A quota" in text
        assert "--ignore-space" in text
        extract = ExtractRequest(to_dir=disk / "new", only="sites")
        assert "(EDQUOT)" in plan_extract(moved, extract).blockers[0]
        assert plan_extract(moved, replace(extract, ignore_space=True)).blockers == ()
        assert plan_restore(moved, replace(FILES_ONLY, ignore_space=True)).blockers == ()
        assert list(disk.iterdir()) == []
    with limited_subvolume(tmp_path / "larger", 16 << 20) as disk:
        assert plan_restore(on_disk(context, disk), FILES_ONLY).blockers == ()


def test_plan_names_a_root_on_a_read_only_mount(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    run_backup(context, BackupRequest(trees=("sites", "uploads")))
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        (disk / "sites").mkdir()
        call("mount", "-o", "remount,ro", disk)
        (text,) = plan_restore(on_disk(context, disk), FILES_ONLY).blockers
    assert "cannot be written: restore where it is mounted writable" in text


def test_backup_records_what_its_names_need(context: BackupContext, trees: tuple[Path, Path]) -> None:
    (trees[0] / "b" / ("é" * 100)).touch()
    (trees[0] / "b" / "PAGE").touch()
    result = run_backup(context, BackupRequest(trees=("sites", "uploads")))
    sites, uploads = result.trees
    assert (sites.longest_name, sites.case_clash) == (200, True)
    assert (uploads.longest_name, uploads.case_clash) == (4, False)
    assert name_blockers(trees[0], sites) == []
    (text,) = name_blockers(trees[0], replace(uploads, longest_name=256))
    assert "a file name of 256 bytes" in text and "allows 255" in text


def test_plan_names_case_clashes_on_a_file_system_that_folds(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    details = TreeDetails(name="sites", case_clash=True, longest_name=4)
    assert name_blockers(trees[0], details) == [] and not is_case_insensitive(trees[0])
    lstat = os.lstat

    def fold(path: bytes, *, dir_fd: int | None = None) -> os.stat_result:
        return lstat(path.lower() if isinstance(path, bytes) else path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "lstat", fold)
    (text,) = name_blockers(trees[0], details)
    assert "differ only in case" in text
    assert name_blockers(trees[0], replace(details, case_clash=False)) == []


@needs_root
def test_root_of_a_file_system_with_lost_and_found_is_backed_up_and_restored(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    image, disk = tmp_path / "image", trees[0]
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    call("mkfs.ext4", "-q", image)
    moved = tmp_path / "moved"
    os.rename(disk, moved)
    disk.mkdir()
    call("mount", "-o", "loop", image, disk)
    try:
        for name in ("a", "b", "c"):
            (disk / name).mkdir()
            (disk / name / "page").write_text(f"sites {name} {NEW}")
        changed(context, trees)
        assert not [text for text in cast(Notes, context.progress).texts if "lost" in text]
        plan = plan_restore(context, FILES_ONLY)
        assert plan.blockers == ()
        RestoreSession(context).execute(plan)
        assert pages(disk) == [NEW] * 3 and (disk / "lost+found").stat().st_ino == 11
        undo(context)
        assert pages(disk) == [OLD] * 3 and (disk / "lost+found").stat().st_ino == 11
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
