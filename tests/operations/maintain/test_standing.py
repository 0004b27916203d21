"""Damaged and suspect copies count for nothing: not for retention, restores and drills, nor as parents."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.catalog.given import Given
from igny8_backup.errors import IntegrityError, RefusedError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.comparison import Expected
from igny8_backup.formats.documents.annotations import DRILLED, STORED, UNREADABLE, CheckedPart
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.backup.request import BackupRequest, BackupResult
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.choose import choose
from igny8_backup.operations.history import expected_sizes
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.history.safety_copies import held_copies
from igny8_backup.operations.history.select_copies import select_copies
from igny8_backup.operations.maintain.accept import accept, withdraw
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import CheckRecorder, VerifyRequest
from igny8_backup.operations.verify.run import newest_backup, verify
from igny8_backup.retention.policy import Part
from igny8_backup.retention.rules import Policy
from tests.operations.clocks import Clock, by_clock
from tests.operations.conftest import Notes
from tests.operations.nights import let_time_pass

pytestmark = pytest.mark.slow

BOTH = BackupRequest(trees=("sites", "uploads"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nightly(context: BackupContext, clock: Clock) -> BackupContext:
    """A context with a settable clock and a policy that keeps two backups."""
    return by_clock(replace(context, config=replace(context.config, retention=Policy(last=2))), clock)


def night(context: BackupContext, clock: Clock, **changed: Any) -> BackupResult:
    clock.forward(hours=1)
    for tree in BOTH.trees:
        if (context.config.state_dir / "indexes").exists():
            let_time_pass(context, tree)
    return run_backup(context, replace(BOTH, **changed))


def nights(context: BackupContext, clock: Clock, number: int, *, full: bool = False) -> list[str]:
    return [night(context, clock, full=full).id for _ in range(number)]


def packs(manifest: Manifest, tree: str) -> list[str]:
    return [pack.key for part in manifest.trees if part.name == tree for pack in part.packs]


def spoil(context: BackupContext, key: str) -> Callable[[], None]:
    """Alter an object and keep its size. Returns a function that repairs it."""
    folder = context.store.local_path()
    assert folder is not None
    path = folder / key
    before = path.read_bytes()
    path.write_bytes(bytes(len(before)))

    def repair() -> None:
        path.write_bytes(before)

    return repair


def found_damaged(context: BackupContext, clock: Clock, backup_id: str, key: str) -> Callable[[], None]:
    repair = spoil(context, key)
    clock.forward(minutes=1)
    assert verify(context, VerifyRequest(backup_id=backup_id)).findings
    return repair


def notes(context: BackupContext) -> str:
    assert isinstance(context.progress, Notes)
    return " ".join(context.progress.texts)


def empty(tree: Path) -> None:
    shutil.rmtree(tree)
    tree.mkdir()


def ids(context: BackupContext) -> list[str]:
    return [entry.id for entry in reversed(context.catalog.entries())]


def test_prune_two_newest_damaged_keeps_the_only_good_copy(nightly: BackupContext, clock: Clock) -> None:
    made = nights(nightly, clock, 4, full=True)
    for backup_id in made[2:]:
        found_damaged(nightly, clock, backup_id, packs(nightly.catalog.get(backup_id), "sites")[0])
    result = prune(nightly)
    assert result.complete and not result.removed
    verdict = next(item for item in result.plan.verdicts if item.id == made[1])
    reasons = {copy.part.name: copy.reasons for copy in verdict.copies}
    assert reasons["sites"][0] == "newest good copy" and not reasons["uploads"]
    unfit = {copy.part.name: copy.unfit for copy in result.plan.verdicts[0].copies}
    assert "is altered" in unfit["sites"] and not unfit["uploads"], "the other tree is not affected"


def test_prune_last_good_copy_missing_from_storage_keeps_the_one_before(
    nightly: BackupContext, clock: Clock
) -> None:
    made = nights(nightly, clock, 4, full=True)
    folder = nightly.store.local_path()
    assert folder is not None
    for backup_id in made[1:]:
        (folder / packs(nightly.catalog.get(backup_id), "sites")[0]).unlink()
    result = prune(nightly)
    assert ids(nightly) == made, "nobody verified, but the listing shows it"
    unfit = [copy.unfit for copy in result.plan.verdicts[0].copies if copy.part.name == "sites"]
    assert "is missing" in unfit[0]


def test_prune_part_without_any_good_copy_is_blocked(nightly: BackupContext, clock: Clock) -> None:
    made = nights(nightly, clock, 3)
    (pack,) = packs(nightly.catalog.get(made[-1]), "sites")
    found_damaged(nightly, clock, made[-1], pack)
    result = prune(nightly)
    assert ids(nightly) == made and not result.complete
    assert [(block.part.name, block.reason) for block in result.plan.blocked] == [
        ("sites", "none of its copies can be relied on. Make a good backup of it first: see list_backups")
    ]


def test_prune_damage_found_in_a_removed_backup_stays_known_while_something_needs_it(
    nightly: BackupContext, clock: Clock
) -> None:
    first = night(nightly, clock).id
    (pack,) = packs(nightly.catalog.get(first), "uploads")
    found_damaged(nightly, clock, first, pack)
    incremental = nightly.catalog.get(first)
    # The next backups store the files of the damaged pack again; one of them is made to need it all the same.
    made = nights(nightly, clock, 3, full=True)
    later = nightly.catalog.get(made[0])
    needed = incremental.trees[1].pack_lists
    trees = tuple(
        replace(tree, pack_lists=(*tree.pack_lists, *needed)) if tree.name == "uploads" else tree
        for tree in later.trees
    )

    nightly.store.put_small(keys.manifest_key(later.id), records.to_json(replace(later, trees=trees)))
    pin(nightly, later.id, "needed")
    assert prune(nightly).removed == (first,)
    history = read_history(nightly)
    assert [item.key for check in history.past_checks for item in check.damage] == [pack]
    assert [copy.part.name for copy in history.standings.of_backup(later.id) if copy.damaged] == ["uploads"]
    clock.forward(days=91)
    made = nights(nightly, clock, 2, full=True)
    assert prune(nightly).removed
    assert read_history(nightly).past_checks, "the pinned backup names the object"
    unpin(nightly, later.id)
    for _ in range(3):  # the backup, then the mark on the pack, then the pack
        clock.forward(days=1)
        made.append(night(nightly, clock).id)
        prune(nightly)
    assert not nightly.store.exists(pack)
    verify(nightly, VerifyRequest())
    clock.forward(days=91)
    night(nightly, clock)
    prune(nightly)
    assert all(check.id in made for check in read_history(nightly).past_checks)


def test_backup_after_damage_stores_the_files_of_the_pack_again(nightly: BackupContext, clock: Clock) -> None:
    first = night(nightly, clock).id
    (pack,) = packs(nightly.catalog.get(first), "sites")
    found_damaged(nightly, clock, first, pack)
    second = night(nightly, clock)
    assert second.manifest and pack not in packs(second.manifest, "sites")
    assert packs(second.manifest, "uploads") == packs(nightly.catalog.get(first), "uploads")
    assert "sites: the files in 1 damaged pack (objects in storage) are read" in notes(nightly)
    assert not verify(nightly, VerifyRequest(backup_id=second.id)).findings
    assert all(copy.fit for copy in read_history(nightly).standings.of_backup(second.id))


def test_verify_sound_again_clears_the_damage_for_all_backups(nightly: BackupContext, clock: Clock) -> None:
    first, second = nights(nightly, clock, 2)
    (pack,) = packs(nightly.catalog.get(first), "sites")
    repair = found_damaged(nightly, clock, first, pack)
    assert {copy.backup_id for copy in read_history(nightly).standings.copies if copy.damaged} == {
        first,
        second,
    }
    repair()
    clock.forward(minutes=1)
    # A sample reads at least what any check has found damaged.
    verify(nightly, VerifyRequest(backup_id=second, sample=1))
    (check,) = read_annotations(nightly.store)[second].checks
    assert check.depth == STORED and check.sound is not None and pack in check.sound
    assert all(copy.fit for copy in read_history(nightly).standings.copies)


def test_select_damaged_newest_is_passed_over_with_a_reason(nightly: BackupContext, clock: Clock) -> None:
    first, second = nights(nightly, clock, 2, full=True)
    found_damaged(nightly, clock, second, packs(nightly.catalog.get(second), "sites")[0])
    selected = select_copies(nightly, None, databases=(), trees=("sites", "uploads"))
    assert [manifest.id for manifest, _ in selected.trees] == [first, second]
    (note,) = selected.notes
    assert note.startswith(f"Backup {second} is not used for 'sites', because its copy is damaged: packs/")
    named = select_copies(nightly, Given.one(nightly.catalog.get(second)), databases=(), trees=("sites",))
    (warning,) = named.notes
    assert warning.startswith(f"WARNING: the copy of 'sites' in backup {second} is damaged: packs/")
    (choice,), _ = choose(nightly, "")
    assert choice.manifest.id == first
    assert f"an older copy of 'sites', because the copy in backup {second} is damaged" in notes(nightly)


def test_select_without_any_good_copy_names_them_and_refuses(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    first = night(nightly, clock).id
    found_damaged(nightly, clock, first, packs(nightly.catalog.get(first), "sites")[0])
    with pytest.raises(IntegrityError, match=f"No copy of sites can be relied on: backup {first}") as caught:
        select_copies(nightly, None, databases=(), trees=("sites",))
    assert caught.value.exit_status == 6
    empty(trees[0])
    second = night(nightly, clock).id
    with pytest.raises(RefusedError, match=f"accept_backup {second}") as refused:
        select_copies(nightly, None, databases=(), trees=("sites",))
    assert (
        refused.value.exit_status == 4 and "damaged" in str(refused.value) and "suspect" in str(refused.value)
    )
    (choice,), left_out = choose(nightly, "")
    assert [item.name for item in choice.parts] == ["uploads"] and left_out == ("files sites of web-1",)
    for backup_id in (first, second):
        found_damaged(nightly, clock, backup_id, packs(nightly.catalog.get(backup_id), "uploads")[0])
    with pytest.raises(RefusedError, match=f"drill_backup {second}"):
        choose(nightly, "")


def test_backup_emptied_tree_is_suspect_and_pushes_nothing_out(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    first, second = nights(nightly, clock, 2)
    empty(trees[0])
    result = night(nightly, clock)
    (suspect,) = result.suspects
    assert suspect.name == "sites" and not result.complete and result.whole
    assert f"it has 0 files and 0 B, while backup {second} had 3 files and" in suspect.text
    assert f"accept_backup {result.id} --part sites" in suspect.text
    assert ("sites", "suspect") in result.alarms and "sites SUSPECT" in result.problems(1)[0]
    later = [night(nightly, clock).id for _ in range(3)]
    prune(nightly)
    assert ids(nightly) == [first, second, result.id, *later]
    for path in trees[0], trees[0] / "a", trees[0] / "b":
        path.mkdir(exist_ok=True)
    for name in "a", "b":
        (trees[0] / name / "page").write_text(f"sites {name} is back\n")
    back = night(nightly, clock)
    assert back.complete, "compared with the last good copy, not with the suspect ones"
    night(nightly, clock)
    assert first in prune(nightly).removed


def test_accept_makes_the_size_the_baseline_and_judges_later_copies_again(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    night(nightly, clock)
    shutil.rmtree(trees[0] / "a")
    shutil.rmtree(trees[0] / "b")
    smaller, again = night(nightly, clock), night(nightly, clock)
    assert smaller.suspects and again.suspects
    clock.forward(minutes=1)
    accepted = accept(nightly, smaller.id, "archived", ("sites",))
    assert accepted.parts == ("sites",) and accepted.suspect == ()
    assert all(copy.fit for copy in read_history(nightly).standings.copies)
    assert night(nightly, clock).complete
    with pytest.raises(UsageError, match="nothing to accept"):
        accept(nightly, again.id, "archived")
    taken_back = withdraw(nightly, smaller.id)
    assert taken_back.acceptance is None and len(taken_back.suspect) == 3
    with pytest.raises(UsageError, match="No copy was accepted"):
        withdraw(nightly, smaller.id)
    assert not nightly.store.exists(keys.acceptance_key(smaller.id))


def test_accept_holds_for_later_copies_after_the_accepted_one_was_pruned(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    first = night(nightly, clock).id
    shutil.rmtree(trees[0] / "a")
    shutil.rmtree(trees[0] / "b")
    smaller, again, third = nights(nightly, clock, 3)
    pin(nightly, first, "the size before")
    accept(nightly, smaller, "archived", ("sites",))
    (judged,) = [
        part.acceptance.judged for part in read_annotations(nightly.store, again).values() if part.acceptance
    ]
    assert [(item.name, item.baseline.backup_id) for item in judged] == [("sites", smaller)]
    assert prune(nightly).removed == (smaller,)
    assert ids(nightly) == [first, again, third]
    assert all(copy.fit for copy in read_history(nightly).standings.copies)
    night(nightly, clock)
    assert prune(nightly).removed == (again,)
    assert all(copy.fit for copy in read_history(nightly).standings.copies)


def test_accept_of_a_copy_that_is_not_suspect_says_so(nightly: BackupContext, clock: Clock) -> None:
    """Perhaps the id is wrong, and the alarm that the operator wants to settle stays."""
    made, notes = night(nightly, clock).id, Notes()
    context = replace(nightly, progress=notes)
    accept(context, made, "counted by hand", ("sites",))
    (text,) = notes.texts
    assert text.startswith(f"The copy of 'sites' in backup {made} was not suspect and had no alarm.")
    accept(context, made, "counted again", ("sites",))
    assert notes.texts == [text]


@pytest.mark.parametrize(
    ("backup_id", "names", "reason", "words"),
    [
        ("20200101T000000Z-aaaaaa", (), "x", "There is no backup"),
        ("", ("nosuch",), "x", "no complete copy of 'nosuch'"),
        ("", (), "x", "nothing to accept"),
        ("", (), " ", "needs a reason"),
        ("", (), "a\nb", "needs a reason"),
    ],
)
def test_accept_what_is_not_there_is_refused(
    nightly: BackupContext, clock: Clock, backup_id: str, names: tuple[str, ...], reason: str, words: str
) -> None:
    made = night(nightly, clock).id
    with pytest.raises(UsageError, match=words):
        accept(nightly, backup_id or made, reason, names)
    assert not nightly.store.exists(keys.acceptance_key(made))


def test_backup_after_announced_size_is_not_suspect(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    night(nightly, clock)
    shutil.rmtree(trees[0] / "a")
    shutil.rmtree(trees[0] / "b")
    expected = Expected(by="restore", backup_id="20261101T000000Z-aaaaaa", files=1, bytes=10)
    expected_sizes.announce(nightly, "files", "sites", expected)
    (note,) = (nightly.config.state_dir / "expected").rglob("*.json")
    assert note.stat().st_mode & 0o777 == 0o600
    result = night(nightly, clock)
    assert result.complete and result.manifest and result.manifest.trees[0].expected == expected
    assert result.manifest.trees[1].expected is None
    assert not note.exists()
    assert night(nightly, clock).complete
    empty(trees[0])
    expected_sizes.announce(nightly, "files", "sites", Expected(by="undo"))
    assert night(nightly, clock).suspects, "an undo explains every size but nothing at all"


def test_backup_that_fails_leaves_the_announcement_for_the_next(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    night(nightly, clock)
    expected_sizes.announce(nightly, "files", "sites", Expected(by="undo"))
    trees[0].rename(trees[0].with_name("away"))
    failed = night(nightly, clock)
    assert list(failed.errors) == ["sites"]
    assert expected_sizes.announced(nightly, "files", "sites") == Expected(by="undo")


def test_safety_copy_is_kept_until_released_and_chosen_by_nobody(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    first = night(nightly, clock).id
    empty(trees[0])
    safety = night(nightly, clock, safety=True)
    assert safety.complete and safety.manifest and safety.manifest.safety, "its size does not matter"
    for name in "a", "b", "c":
        (trees[0] / name).mkdir()
        (trees[0] / name / "page").write_text("as it was\n")
    (choice,), _ = choose(nightly, "")
    assert newest_backup(nightly) == first == choice.manifest.id
    later = nights(nightly, clock, 3)
    selected = select_copies(nightly, None, databases=(), trees=("sites",))
    assert [manifest.id for manifest, _ in selected.trees] == [later[-1]]
    prune(nightly)
    assert ids(nightly) == [safety.id, *later[1:]]
    verdict = prune(nightly).plan.verdicts[-1]
    assert verdict.reasons == ("kept until released: it can undo a restore in place",)
    named = select_copies(nightly, Given.one(nightly.catalog.get(safety.id)), databases=(), trees=("sites",))
    assert "is safety: it holds what was live before a restore in place" in named.notes[0]
    assert [manifest.id for manifest in held_copies(nightly)] == [safety.id]
    unpin(nightly, safety.id)
    assert held_copies(nightly) == []
    with pytest.raises(UsageError, match="is not pinned"):
        unpin(nightly, safety.id)
    prune(nightly)
    assert ids(nightly) == later[1:]


def test_backup_after_suspect_ones_compares_with_the_last_good_one(
    nightly: BackupContext, clock: Clock, trees: tuple[Path, Path]
) -> None:
    first = night(nightly, clock).id
    away = trees[0].rename(trees[0].with_name("away"))
    trees[0].mkdir()
    assert all(night(nightly, clock).suspects for _ in range(3))
    trees[0].rmdir()
    away.rename(trees[0])
    back = night(nightly, clock)
    assert back.complete and back.manifest and not back.manifest.trees[0].full
    assert packs(back.manifest, "sites") == packs(nightly.catalog.get(first), "sites")


def completed(context: BackupContext, clock: Clock) -> Manifest:
    manifest = night(context, clock).manifest
    assert manifest
    return manifest


def checked(
    context: BackupContext, manifest: Manifest, tree: str, depth: str = DRILLED, *, damaged: bool = False
) -> None:
    """Record a check of one tree, as a drill of the newest copies does for each backup."""
    (part,) = (part for part in manifest.trees if part.name == tree)
    recorder = CheckRecorder(context, manifest, depth=depth, parts=[CheckedPart(kind="files", name=tree)])
    if damaged:
        recorder.add_finding(part.stored_index.key, UNREADABLE, "It cannot be read.")
    else:
        recorder.add_sound(*part.objects())
    assert not recorder.record().unrecorded


def is_fit(context: BackupContext, backup_id: str, tree: str) -> bool:
    copy = read_history(context).standings.of(backup_id, Part(host="web-1", kind="files", name=tree))
    assert copy
    return copy.fit


def test_check_of_another_part_clears_no_damage(nightly: BackupContext, clock: Clock) -> None:
    made = completed(nightly, clock)
    checked(nightly, made, "sites", damaged=True)
    for _ in range(2):
        clock.forward(hours=1)
        checked(nightly, made, "uploads")
        assert not is_fit(nightly, made.id, "sites")
        assert is_fit(nightly, made.id, "uploads")
    clock.forward(hours=1)
    checked(nightly, made, "sites")
    assert is_fit(nightly, made.id, "sites")


def test_check_dated_in_the_future_hides_no_damage_that_is_found_now(
    nightly: BackupContext, clock: Clock
) -> None:
    made = completed(nightly, clock)
    now = clock.now
    clock.forward(days=400)
    checked(nightly, made, "sites")
    clock.now = now
    checked(nightly, made, "sites", damaged=True)
    assert not is_fit(nightly, made.id, "sites")
    clock.forward(days=500)
    assert not is_fit(nightly, made.id, "sites")


def test_check_dated_in_the_future_that_found_damage_is_cleared_by_a_check_now(
    nightly: BackupContext, clock: Clock
) -> None:
    made = completed(nightly, clock)
    now = clock.now
    clock.forward(days=400)
    checked(nightly, made, "sites", damaged=True)
    clock.now = now
    assert not is_fit(nightly, made.id, "sites")
    clock.forward(hours=1)
    checked(nightly, made, "sites")
    assert is_fit(nightly, made.id, "sites")


def test_monitor_check_dated_in_the_future_is_not_recent(nightly: BackupContext, clock: Clock) -> None:
    made = completed(nightly, clock)
    now = clock.now
    clock.forward(days=4000)
    checked(nightly, made, "sites")
    clock.now = now
    clock.forward(days=60)
    found = {(item.name, item.of): item.ok for item in monitor(nightly).conditions}
    assert not found["verified", "files sites of web-1"]
    assert not found["drilled", "files sites of web-1"]
