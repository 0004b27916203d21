"""Whole backups are copied as they are, only what is missing, and nothing that cannot be relied on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from igny8_backup.errors import IncompleteError, UsageError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import COMPLETE, FAILED, RUNNING
from igny8_backup.locks.host import file_lock
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.copies import one_backup
from igny8_backup.operations.copies.result import CopyResult
from igny8_backup.operations.copies.run import choose_copies, copy_after_run, copy_backups
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.maintain.accept import accept
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.maintain.pruning.sweep import plan_sweep
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.tasks import backup_sites, prune_backups, verify_backup
from igny8_backup.tasks import copy_backups as copy_task
from tests.operations.clocks import Clock
from tests.operations.conftest import Notes
from tests.operations.copies.conftest import BreaksOff, Meanwhile, Opened
from tests.operations.nights import let_time_pass, running
from tests.operations.signed import REQUEST, backed_up

pytestmark = pytest.mark.slow

BROKEN = {
    "BACKEND": "tests.operations.copies.conftest.BreaksOff",
}


def copy_all(context: BackupContext, **options: Any) -> CopyResult:
    """Copy to the only copy of the settings; return the result."""
    (result,) = copy_backups(context, choose_copies(context), **options).copies
    return result


def objects(folder: Path) -> dict[str, bytes]:
    """The objects of backups in a storage, without what belongs to the storage itself."""
    root = folder / "igny8"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] in ("backups", "packs")
    }


def test_copy_has_the_same_objects_and_restores_alone(
    opened: Opened, trees: tuple[Path, Path], tmp_path: Path, clock: Clock
) -> None:
    with opened() as context:
        first = backed_up(context)
        clock.forward(days=1)
        (trees[0] / "a/page").write_text("changed\n")
        second = backed_up(context)
        result = copy_all(context)
    assert result.complete and result.copied == (second.id, first.id)
    assert objects(tmp_path / "offsite") == objects(tmp_path / "storage")
    shutil.rmtree(tmp_path / "storage")
    with opened("offsite") as copy:
        assert verify(copy, VerifyRequest(backup_id=second.id, depth="content")).findings == ()
        plan = plan_extract(copy, ExtractRequest(backup_id=second.id, to_dir=tmp_path / "new"))
        run_extract(copy, plan)
    assert (tmp_path / "new/sites/a/page").read_text() == "changed\n"
    assert (tmp_path / "new/sites/b/page").read_text() == "sites b as it was\n"


class Losing(Notes):
    """A progress that deletes a pack when the second tree is begun."""

    def __init__(self, pack: Path) -> None:
        super().__init__()
        self.pack = pack

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        if what == "files uploads":
            self.pack.unlink()


def test_copy_of_a_tree_that_failed_for_want_of_a_pack_needs_no_object_of_it(
    opened: Opened, trees: tuple[Path, Path], tmp_path: Path, clock: Clock
) -> None:
    with opened() as context:
        first = backed_up(context)
        clock.forward(days=1)
        (pack,) = (pack.key for tree in first.trees if tree.name == "sites" for pack in tree.packs)
        losing = replace(context, progress=Losing(tmp_path / "storage/igny8" / pack))
        let_time_pass(context, "sites")
        made = run_backup(losing, BackupRequest(trees=("sites", "uploads")))
        assert made.manifest and list(made.errors) == ["sites"]
        failed = next(tree for tree in made.manifest.trees if tree.name == "sites")
        assert (failed.state, failed.objects(), failed.files) == (FAILED, (), 0)
        assert not verify(context, VerifyRequest(backup_id=made.id)).findings
        assert copy_all(context, backup_id=made.id).copied == (made.id,)


def test_copy_again_stores_only_new_packs(opened: Opened, trees: tuple[Path, Path], clock: Clock) -> None:
    with opened() as context:
        first = backed_up(context)
        copy_all(context)
        clock.forward(days=1)
        (trees[0] / "a/page").write_text("changed\n")
        second = backed_up(context)
        result = copy_all(context)
        packs = {pack.key for tree in first.trees for pack in tree.packs}
        own = [item for item in second.objects() if item.key not in packs and item not in first.objects()]
        again = copy_all(context)
    assert (result.copied, result.present) == ((second.id,), (first.id,))
    assert (result.objects, result.bytes) == (len(own), sum(item.stored_bytes for item in own))
    assert (again.copied, again.objects) == ((), 0)


def test_signed_backup_is_trusted_in_the_copy_and_an_untrusted_one_is_left_out(
    host: Any, opened: Opened, tmp_path: Path
) -> None:
    with opened() as context, host(signs="stranger", trusts=["web"]) as stranger:
        untrusted = backed_up(stranger)
    with host(signs="web", trusts=["web"]) as context:
        signed = backed_up(context)
        result = copy_all(context)
        assert result.copied == (signed.id,)
        assert "settings do not trust" in result.left_out[untrusted.id]
        named = copy_all(context, backup_id=untrusted.id)
        assert not named.complete and untrusted.id in named.failed
    with opened("offsite") as copy:
        (entry,) = copy.catalog.entries()
        assert entry.id == signed.id and not entry.untrusted


def test_suspect_backup_is_copied_only_after_it_was_accepted(
    opened: Opened, trees: tuple[Path, Path], clock: Clock
) -> None:
    with opened() as context:
        good = backed_up(context)
        clock.forward(days=1)
        for path in trees[1].rglob("page"):
            path.unlink()
        shrunk = backed_up(context)
        result = copy_all(context)
        assert result.copied == (good.id,) and "uploads is suspect" in result.left_out[shrunk.id]
        accept(context, shrunk.id, "the uploads moved")
        assert copy_all(context).copied == (shrunk.id,)
        with opened("offsite") as copy:
            assert prune(copy, dry_run=True).complete
            assert copy.catalog.entries()[0].id == shrunk.id
            assert copy.store.exists(keys.acceptance_key(shrunk.id))


def test_damaged_object_is_not_copied_and_the_copy_has_no_manifest(opened: Opened, tmp_path: Path) -> None:
    with opened() as context:
        manifest = backed_up(context)
        pack = manifest.trees[0].packs[0]
        path = tmp_path / "storage/igny8" / pack.key
        path.write_bytes(bytes(len(path.read_bytes())))
        result = copy_all(context)
        assert pack.key in result.failed[manifest.id] and not result.copied
        with opened("offsite") as copy:
            assert copy.catalog.entries() == []
            run = copy.catalog.run(manifest.id)
            assert run and run.outcome == FAILED


def test_interrupted_copy_is_resumed_and_what_it_left_is_checked(
    opened: Opened, settings: Any, tmp_path: Path
) -> None:
    with opened() as context:
        manifest = backed_up(context)
        first, second = (tree.packs[0] for tree in manifest.trees)
        place = {"OPTIONS": {"location": str(tmp_path / "offsite")}}
        settings.STORAGES = {**settings.STORAGES, "offsite": {**BROKEN, **place}}
        BreaksOff.left = 1
        failed = copy_all(context)
        assert not failed.complete and "Permission denied" in failed.problem
        BreaksOff.left = 10
        left = tmp_path / "offsite/igny8" / first.key
        assert left.exists() and not (tmp_path / "offsite/igny8" / second.key).exists()
        left.write_bytes(bytes(first.stored_bytes))  # somebody else put other bytes there
        result = copy_all(context)
        assert result.copied == (manifest.id,)
    assert objects(tmp_path / "offsite") == objects(tmp_path / "storage")


def test_copy_that_fails_does_not_stop_the_others(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "offsite").rmdir()  # the disk is not mounted
    both = {"offsite": {"storage": "offsite"}, "attic": {"storage": "attic"}}
    with opened(copies=both) as context:
        made = run_backup(context, REQUEST)
        result = copy_after_run(context, made)
    offsite, attic = result.copies
    assert not result.complete and offsite.problem and attic.copied == (made.id,)
    (line,) = result.problems()
    assert line.startswith("NOT COPIED to offsite: The folder ") and 'STORAGES["offsite"]' in line
    assert not (tmp_path / "offsite").exists()
    assert [alarm.part for alarm in result.alarms] == ["copy offsite"]


def test_sweep_of_the_copy_spares_a_copy_that_is_under_way(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
        (tmp_path / "offsite/igny8" / keys.manifest_key(manifest.id)).unlink()
        with opened("offsite", changing=True) as copy:
            running(copy, manifest.id, outcome=RUNNING)
            assert plan_sweep(copy).waiting == ()
            clock.forward(hours=1)  # the run was killed
            assert {item.key for item in plan_sweep(copy).waiting} >= {
                pack.key for tree in manifest.trees for pack in tree.packs
            }


def test_copy_holds_locks_only_for_the_manifest(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    monkeypatch.setattr(one_backup, "LOCK_WAIT", 0)
    for locked in ("storage", "offsite"):
        with opened() as context, opened("offsite", changing=True) as copy:
            manifest = backed_up(context)
            busy = context if locked == "storage" else copy
            with file_lock(busy.store, context.config.state_dir, doing="pruning", now=clock()):
                result = copy_all(context)
            assert "pruning" in result.problem and result.copied == ()
            packs = [pack.key for tree in manifest.trees for pack in tree.packs]
            assert all(copy.store.exists(key) for key in packs)
            assert not copy.store.exists(keys.manifest_key(manifest.id))
            clock.forward(days=1)
            assert copy_all(context).complete


def test_prune_of_a_copy_applies_its_own_retention_and_is_not_undone(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    copies = {"offsite": {"storage": "offsite", "retention": {"last": 2}}}
    with opened(copies=copies) as context:
        made = []
        for _ in range(3):
            clock.forward(days=1)
            made.append(backed_up(context).id)
            copy_all(context)
        with opened("offsite", copies=copies, changing=True) as copy:
            assert prune(copy).removed == (made[0],)
        assert copy_all(context).copied == ()
        assert [entry.id for entry in context.catalog.entries()] == made[::-1]
        # Named explicitly, it is copied again, and its loss would be noticed again.
        assert copy_all(context, backup_id=made[0]).copied == (made[0],)
        with opened("offsite", copies=copies) as copy:
            assert not copy.store.exists(keys.removal_key(made[0]))


def test_copy_keeps_its_last_backups_when_the_originals_are_gone(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    with opened() as context:
        made = backed_up(context)
        copy_all(context)
    shutil.rmtree(tmp_path / "storage")
    clock.forward(days=400)
    with opened("offsite", changing=True) as copy:
        result = prune(copy)
        assert result.removed == () and result.swept == ()
        assert [entry.id for entry in copy.catalog.entries()] == [made.id]


def test_copy_of_more_backups_than_its_retention_keeps_is_not_made(opened: Opened, clock: Clock) -> None:
    copies = {"offsite": {"storage": "offsite", "retention": {"last": 1}}}
    with opened(copies=copies) as context:
        made = []
        for _ in range(3):
            clock.forward(days=1)
            made.append(backed_up(context).id)
        assert copy_all(context).copied == (made[-1],)


def test_backup_removed_while_it_was_copied_leaves_no_manifest(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    offsite = {
        **settings.STORAGES["offsite"],
        "BACKEND": "tests.operations.copies.conftest.Meanwhile",
    }
    settings.STORAGES = {**settings.STORAGES, "offsite": offsite}
    with opened() as context:
        manifest = backed_up(context)
        path = tmp_path / "storage/igny8" / keys.manifest_key(manifest.id)
        monkeypatch.setattr(Meanwhile, "happens", lambda: path.unlink(missing_ok=True), raising=False)
        assert "changed or removed while it was copied" in copy_all(context).problem
        with opened("offsite") as copy:
            assert copy.catalog.entries() == []


def test_altered_manifest_in_the_copy_is_reported(opened: Opened, tmp_path: Path) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
        path = tmp_path / "offsite/igny8" / keys.manifest_key(manifest.id)
        path.write_bytes(path.read_bytes().replace(b'"label": ""', b'"label": "x"'))
        result = copy_all(context)
        assert "another manifest" in result.failed[manifest.id]


def test_run_record_and_marker_of_the_copy_are_those_of_the_backup(opened: Opened, tmp_path: Path) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
        with opened("offsite") as copy:
            original, copied = context.catalog.run(manifest.id), copy.catalog.run(manifest.id)
            assert original and copied and copied.outcome == COMPLETE
            assert copied.manifest_sha256 == original.manifest_sha256
            assert copy.store.read_small(keys.MARKER) == context.store.read_small(keys.MARKER)


def test_storage_of_the_backups_is_refused_as_a_copy(opened: Opened, settings: Any) -> None:
    with opened() as context:
        backed_up(context)
        settings.STORAGES = {**settings.STORAGES, "offsite": settings.STORAGES["dbbackup"]}
        assert "is the storage of the backups themselves" in copy_all(context).problem


@pytest.mark.parametrize(
    ("copies", "names", "problem"),
    [({}, [], "has no COPIES"), (None, ["moon"], "has no copy 'moon'. It has offsite.")],
)
def test_unknown_copy_is_refused(opened: Opened, copies: Any, names: list[str], problem: str) -> None:
    with opened(copies=copies) as context, pytest.raises(UsageError, match=problem):
        choose_copies(context, names)


def test_unknown_id_is_refused(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    with opened() as context, pytest.raises(UsageError, match="There is no backup 'x'"):
        copy_backups(context, choose_copies(context), backup_id="x")


def test_backup_command_and_task_copy_at_their_end(
    opened: Opened, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened():
        call_command("backup_sites", "--json")
        (copy,) = json.loads(capsys.readouterr().out)["copies"]
        made = backup_sites.apply(throw=True).get()
        with opened("offsite") as context:
            stored = [entry.id for entry in context.catalog.entries()]
        assert copy["copied"] == stored[1:] and stored[0] == made["id"]
        (tmp_path / "offsite").rename(tmp_path / "elsewhere")
        with pytest.raises(CommandError) as caught:
            call_command("backup_sites")
        assert caught.value.returncode == 3 and "NOT COPIED to offsite" in capsys.readouterr().err
        with pytest.raises(IncompleteError, match="was made, but not copied. NOT COPIED to offsite"):
            backup_sites.apply(throw=True).get()
        with pytest.raises(IncompleteError, match="NOT COPIED to offsite"):
            copy_task.apply(throw=True).get()
        # What could not be copied is copied by the next run.
        (tmp_path / "elsewhere").rename(tmp_path / "offsite")
        assert copy_task.apply(args=("offsite",), throw=True).get()["backups"] == 2


def test_tasks_prune_and_verify_a_copy_by_its_name(opened: Opened, settings: Any, clock: Clock) -> None:
    copies = {"far": {"storage": "offsite", "retention": {"last": 1}}}
    with opened(copies=copies) as context:
        made = []
        for _ in range(2):
            clock.forward(days=1)
            made.append(backed_up(context).id)
            copy_all(context)
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "MAX_AGE": {"sites": None, "uploads": None}}
    assert prune_backups.apply(kwargs={"from_storage": "far"}, throw=True).get()["removed"] == [made[0]]
    assert verify_backup.apply(kwargs={"from_storage": "far"}, throw=True).get()["ids"] == [made[1]]
    with opened(copies=copies) as context:
        assert [entry.id for entry in context.catalog.entries()] == made[::-1]
