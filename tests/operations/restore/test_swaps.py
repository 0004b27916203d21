"""The swap of trees in a restore can be completed or undone after any interruption, and loses nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.errors import BackupError, FilesError, UnfinishedError, UsageError
from igny8_backup.formats.keys import stamp
from igny8_backup.journal import DONE, PREPARING, SWAPPING, UNDOING, Journal
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import swaps
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.planning.plan import RestorePlan, RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.planning.preflight import tree_blockers
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.operations.undo.discard import discard
from igny8_backup.operations.undo.run import finished_restores, undo
from igny8_backup.signals import phase_started
from igny8_backup.trees.model.names import previous_name, staging_name
from igny8_backup.trees.swap.swap import exchange
from igny8_backup.trees.swap.target import SwapTarget

pytestmark = pytest.mark.slow

OLD, NEW = "as it is now\n", "as it was\n"


@pytest.fixture
def plan(context: BackupContext, trees: tuple[Path, Path]) -> RestorePlan:
    """The plan that restores both trees, after all their files were changed."""
    assert run_backup(context, BackupRequest(trees=("sites", "uploads"))).complete
    for root in trees:
        for page in root.glob("*/page"):
            page.write_text(f"{root.name} {page.parent.name} {OLD}")
    return plan_restore(context, RestoreRequest(only="files"))


def pages(root: Path) -> list[str]:
    """Return the last word of each page in the root, sorted by path."""
    found = sorted(root.glob("[!.]*/page"))
    return [path.read_text().split(" ", 2)[2] for path in found]


def previous_pages(root: Path) -> list[str]:
    return [path.read_text().split(" ", 2)[2] for path in sorted(root.glob(".before-*/*/page"))]


def stopped_in_the_swap(context: BackupContext, plan: RestorePlan, *, after: int) -> Journal:
    """Return the journal of a restore that stopped after swapping ``after`` children of the first tree."""
    journal = RestoreSession(context).execute(plan).journal
    undo(context)
    discard(context)
    # The state just before the swap: staging is complete, and the journal says so.
    trees = []
    for tree, item in zip(journal.trees, plan.trees, strict=True):
        swap_plan = restore_tree.build_staging_tree(
            context, item.part, restore_tree.target_of(tree, journal.stamp), [], lambda amount: None
        )
        trees.append(replace(tree, plan=swap_plan))
    journal = context.journals.write(replace(journal, trees=tuple(trees)), SWAPPING)

    class StoppedError(Exception):
        pass

    steps = 0

    def step(what: str) -> None:
        nonlocal steps
        steps += 1
        if steps > after:
            raise StoppedError

    with pytest.raises(StoppedError):
        assert trees[0].plan is not None
        exchange(trees[0].plan, on_step=step)
    return journal


def test_restore_of_trees_can_be_undone(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    result = RestoreSession(context).execute(plan)
    assert (result.journal.phase, result.resumed, result.warnings) == (DONE, False, ())
    assert [pages(root) for root in trees] == [[NEW] * 3] * 2
    assert [previous_pages(root) for root in trees] == [[OLD] * 3] * 2
    undo(context)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2
    assert [previous_pages(root) for root in trees] == [[NEW] * 3] * 2
    undo(context)  # the second in a row is a redo
    assert [pages(root) for root in trees] == [[NEW] * 3] * 2
    assert [previous_pages(root) for root in trees] == [[OLD] * 3] * 2
    undo(context)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2
    assert len(discard(context).journals) == 1
    with pytest.raises(UsageError, match="no restore to undo"):
        undo(context)
    assert [previous_pages(root) for root in trees] == [[]] * 2
    with pytest.raises(UsageError, match="No data of earlier restores"):
        discard(context)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_restore_stopped_during_swap_is_completed_by_settle(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path], after: int
) -> None:
    stopped_in_the_swap(context, plan, after=after)
    assert sorted(pages(trees[0])).count(NEW) >= after
    with pytest.raises(UsageError, match="unfinished"):
        discard(context)
    result = RestoreSession(context).settle()
    assert result and result.resumed and result.journal.phase == DONE
    assert RestoreSession(context).settle() is None
    assert [pages(root) for root in trees] == [[NEW] * 3] * 2
    undo(context)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2


@pytest.mark.parametrize("after", [0, 1, 2])
def test_restore_stopped_during_swap_can_be_undone(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path], after: int
) -> None:
    stopped_in_the_swap(context, plan, after=after)
    undo(context)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2
    assert RestoreSession(context).settle() is None


def rewrite_as_schema_1(context: BackupContext) -> None:
    """Rewrite the only journal as the release before schema 2 wrote it."""
    (path,) = context.journals.folder.glob("*.json")
    journal = json.loads(path.read_bytes())
    for tree in journal["trees"]:
        plan = tree.pop("plan")
        plan["root"], plan["side_inode"] = plan.pop("folder"), plan.pop("staging_inode")
        plan["children"] = [[child["name"], child["live"], child["staging"]] for child in plan["children"]]
        tree["plan"] = json.dumps({"format": "igny8_backup swap", "version": 1, **plan})
        tree["kept"], tree["whole"] = tree.pop("previous"), tree.pop("swap_root")
    path.write_text(json.dumps({**journal, "schema": 1}))


@pytest.mark.parametrize("undone", [False, True])
def test_restore_stopped_during_swap_with_journal_of_schema_1_is_settled(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path], undone: bool
) -> None:
    stopped_in_the_swap(context, plan, after=2)
    rewrite_as_schema_1(context)
    if undone:
        undo(context)
    else:
        assert RestoreSession(context).settle()
    expected = (OLD, NEW) if undone else (NEW, OLD)
    assert [pages(root) for root in trees] == [[expected[0]] * 3] * 2
    assert [previous_pages(root) for root in trees] == [[expected[1]] * 3] * 2


def test_swap_that_cannot_continue_keeps_the_previous_files(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    journal = stopped_in_the_swap(context, plan, after=2)
    for root in trees:
        away = tmp_path / "not mounted"
        root.rename(away)
        works: tuple[Callable[[], object], ...] = (
            RestoreSession(context).settle,
            lambda: RestoreSession(context).execute(plan),
        )
        for work in works:
            with pytest.raises(UnfinishedError) as caught:
                work()
            assert caught.value.exit_status == 8
            assert "is gone" in str(caught.value) or "cannot be opened" in str(caught.value)
        unfinished = context.journals.unfinished()
        assert unfinished and unfinished.stamp == journal.stamp
        away.rename(root)
    staging = trees[0] / staging_name(journal.stamp)
    # A tree that is not there keeps the others from being swapped.
    assert staging.exists() and unfinished and unfinished.phase == SWAPPING
    assert RestoreSession(context).settle()
    assert [pages(root) for root in trees] == [[NEW] * 3] * 2
    undo(context)
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2


def test_file_written_before_the_swap_is_kept_with_the_previous_tree(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    stopped_in_the_swap(context, plan, after=0)
    (trees[0] / "written meanwhile").mkdir()
    (trees[1] / "b/page").unlink()
    (trees[1] / "b").rmdir()
    assert RestoreSession(context).settle()
    assert [pages(root) for root in trees] == [[NEW] * 3] * 2
    assert not (trees[0] / "written meanwhile").exists()
    undo(context)
    assert (trees[0] / "written meanwhile").is_dir()
    assert not (trees[1] / "b").exists()


def test_failure_before_the_first_swap_removes_staging(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    journal = RestoreSession(context).execute(plan).journal
    undo(context)
    discard(context)
    swap_plan = restore_tree.build_staging_tree(
        context, plan.trees[0].part, SwapTarget(root=trees[0], stamp=journal.stamp), [], lambda amount: None
    )
    # The plan names a staging folder that does not exist.
    wrong = replace(swap_plan, stamp=swap_plan.stamp.replace("2", "3", 1))
    broken = replace(journal, trees=(replace(journal.trees[0], plan=wrong),))
    context.journals.write(broken, SWAPPING)
    with pytest.raises(FilesError):
        swaps.swap_all(context, broken)
    assert not (trees[0] / staging_name(journal.stamp)).exists()
    assert context.journals.all() == []
    assert pages(trees[0]) == [OLD] * 3


def test_previous_tree_that_cannot_be_renamed_is_not_removed(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    still = context.clock()
    taken = trees[0] / previous_name(stamp(still))
    one = replace(plan, trees=plan.trees[:1])

    def take(phase: str, **_: object) -> None:
        if phase == "swap":
            (taken / "somebody's").mkdir(parents=True)

    phase_started.connect(take)
    with pytest.raises(UnfinishedError, match="the tree that is not live is still in"):
        RestoreSession(replace(context, clock=lambda: still)).execute(one)
    phase_started.disconnect(take)
    assert pages(trees[0]) == [NEW] * 3
    shutil.rmtree(taken)
    assert RestoreSession(context).settle()
    undo(context)
    assert pages(trees[0]) == [OLD] * 3


def test_restore_finds_names_that_no_folder_of_a_tree_has(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    """A user of the application made a folder with the name of the next staging folder."""
    still = context.clock()
    for root, name in zip(trees, (staging_name(stamp(still)), previous_name(stamp(still))), strict=True):
        (root / name).mkdir()
    journal = RestoreSession(replace(context, clock=lambda: still)).execute(plan).journal
    assert journal.stamp > stamp(still)
    assert (trees[0] / previous_name(journal.stamp) / staging_name(stamp(still))).is_dir()


def test_swap_whose_journal_cannot_be_written_is_unfinished(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    # The folder of journals is swapped out with the tree, and a file takes its place.
    page = trees[0] / "a/page"
    page.unlink()
    page.mkdir()
    lost = replace(context, config=replace(context.config, state_dir=page))
    with pytest.raises(UnfinishedError, match="The journal"):
        RestoreSession(lost).execute(replace(plan, trees=plan.trees[:1]))
    assert pages(trees[0]) == [NEW] * 3


def test_interrupted_undo_is_completed_as_an_undo(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    RestoreSession(context).execute(plan)
    away = tmp_path / "not mounted"
    (newest,) = finished_restores(context)
    context.journals.write(newest, UNDOING)
    trees[1].rename(away)
    for work in (lambda: undo(context), lambda: RestoreSession(context).settle()):
        with pytest.raises(UnfinishedError, match="undo_restore again"):
            work()
    assert pages(trees[0]) == [OLD] * 3
    away.rename(trees[1])
    result = RestoreSession(context).settle()
    assert result and result.resumed and result.journal.phase == "undone"
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2


def test_undo_without_previous_tree_changes_nothing(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    journal = RestoreSession(context).execute(plan).journal
    (trees[1] / f".before-{journal.stamp}").rename(trees[1] / "elsewhere")
    with pytest.raises(FilesError, match="gone"):
        undo(context)
    assert context.journals.unfinished() is None
    assert pages(trees[0]) == [NEW] * 3
    assert len(discard(context).journals) == 1


def test_restores_within_one_second_have_separate_journals(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    still = context.clock()
    frozen = replace(context, clock=lambda: still)
    stamps = {RestoreSession(frozen).execute(plan).journal.stamp for _ in range(3)}
    assert len(stamps) == 3 == len(finished_restores(context))
    with pytest.raises(UsageError, match=f"Undo that one first.*undo_restore {max(stamps)}"):
        undo(frozen, stamp=min(stamps))
    for stamp_, words in zip(sorted(stamps, reverse=True), (NEW, NEW, OLD), strict=True):
        undo(frozen, stamp=stamp_)
        assert [pages(root) for root in trees] == [[words] * 3] * 2


def test_failure_of_cleanup_does_not_hide_the_first_failure(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    part = plan.trees[1].part
    assert part.index
    lost = replace(part, index=replace(part.index, key=part.index.key.replace("uploads", "others")))
    broken = replace(plan, trees=(plan.trees[0], replace(plan.trees[1], part=lost)))
    with pytest.raises(BackupError, match="others"):
        RestoreSession(context).execute(broken)
    assert context.journals.all() == []
    assert [sorted(path.name for path in root.iterdir()) for root in trees] == [["a", "b", "c"]] * 2
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2


def test_undo_of_a_restore_before_its_swap_removes_staging(
    context: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    journal = RestoreSession(context).execute(plan).journal
    undo(context)
    discard(context)
    restore_tree.build_staging_tree(
        context, plan.trees[0].part, SwapTarget(root=trees[0], stamp=journal.stamp), [], lambda amount: None
    )
    context.journals.write(journal, PREPARING)
    assert undo(context).journal.phase == PREPARING
    assert context.journals.all() == []
    assert not (trees[0] / staging_name(journal.stamp)).exists()
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2


@pytest.fixture
def with_swap_root(context: BackupContext) -> BackupContext:
    """The context in which the root of the first tree is swapped itself."""
    return replace(context, config=replace(context.config, swap_whole=("sites",)))


def test_swap_root_replaces_the_root_folder_itself(
    with_swap_root: BackupContext, plan: RestorePlan, trees: tuple[Path, Path]
) -> None:
    parent, before = trees[0].parent, sorted(trees[0].parent.iterdir())
    trees[0].chmod(0o711)
    inodes = [root.stat().st_ino for root in trees]
    journal = RestoreSession(with_swap_root).execute(plan).journal
    assert [pages(root) for root in trees] == [[NEW] * 3] * 2
    assert trees[0].stat().st_ino != inodes[0] and trees[1].stat().st_ino == inodes[1]
    assert sorted(path.name for path in trees[0].iterdir()) == ["a", "b", "c"], "nothing of ours is in it"
    previous = parent / f".before-{journal.stamp}-sites"
    assert journal.trees[0].previous == str(previous) and previous.stat().st_mode & 0o777 == 0o700
    assert (previous / "sites").stat().st_ino == inodes[0]
    undo(with_swap_root)
    assert [root.stat().st_ino for root in trees] == inodes and trees[0].stat().st_mode & 0o777 == 0o711
    assert [pages(root) for root in trees] == [[OLD] * 3] * 2
    discard(with_swap_root)
    assert sorted(parent.iterdir()) == sorted({*before, parent / "state"})


@pytest.mark.parametrize("way", ["on", "back"])
def test_swap_root_stopped_during_swap_is_settled(
    with_swap_root: BackupContext, plan: RestorePlan, trees: tuple[Path, Path], way: str
) -> None:
    stopped_in_the_swap(with_swap_root, plan, after=0)
    if way == "on":
        assert RestoreSession(with_swap_root).settle()
    else:
        undo(with_swap_root)
    assert [pages(root) for root in trees] == [[NEW if way == "on" else OLD] * 3] * 2


def test_swap_root_of_a_mount_point_is_refused(trees: tuple[Path, Path]) -> None:
    assert tree_blockers(trees[0], (), swap_root=True) == []
    (text,) = tree_blockers(Path("/proc"), (), swap_root=True)
    assert "is a mount point" in text and "SWAP_WHOLE" in text


def test_swap_root_of_a_symlink_is_refused(trees: tuple[Path, Path]) -> None:
    link = trees[0].with_name("link")
    link.symlink_to(trees[0])
    assert tree_blockers(link, ()) == [], "the children of the folder are swapped"
    (text,) = tree_blockers(link, (), swap_root=True)
    assert "is a symlink" in text and "SWAP_WHOLE" in text
