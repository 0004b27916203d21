"""Damaged and missing objects are healed from any storage that has their digest, before prune_backups."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.copies.heal import Healed, heal
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.tasks import prune_backups
from tests.operations.clocks import Clock
from tests.operations.conftest import Notes
from tests.operations.copies.conftest import Opened
from tests.operations.copies.test_run import copy_all, objects
from tests.operations.signed import backed_up

pytestmark = pytest.mark.slow


def alter(folder: Path, key: str) -> None:
    """Replace an object by as many other bytes."""
    path = folder / "igny8" / key
    path.write_bytes(bytes(path.stat().st_size))


def pack_of(manifest: Manifest) -> str:
    return manifest.trees[0].packs[0].key


def list_of(manifest: Manifest) -> str:
    return manifest.trees[0].pack_lists[0].key


def is_sound(context: BackupContext) -> bool:
    standings = read_inventory(context).standings
    return all(copy.fit for copy in standings.copies) and bool(standings.copies)


def test_altered_and_missing_objects_are_healed_and_the_damage_is_cleared(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
        before = objects(tmp_path / "offsite")
        alter(tmp_path / "storage", pack_of(manifest))
        (tmp_path / "storage/igny8" / manifest.details.key).unlink()
        (tmp_path / "storage/igny8" / list_of(manifest)).unlink()
        clock.forward(hours=1)
        assert verify(context, VerifyRequest(backup_id=manifest.id)).findings
        clock.forward(hours=1)
        assert not is_sound(context)
        result = heal(context)
        assert set(result.healed) == {pack_of(manifest), list_of(manifest), manifest.details.key}
        assert set(result.healed.values()) == {"offsite"} and not result.unhealed
        assert objects(tmp_path / "storage") == before
        clock.forward(hours=1)
        assert is_sound(context)
        assert heal(context) == Healed()


def test_copy_is_healed_from_the_original(opened: Opened, clock: Clock, tmp_path: Path) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
        (tmp_path / "offsite/igny8" / pack_of(manifest)).unlink()
        with opened("offsite", changing=True) as copy:
            assert heal(copy).healed == {pack_of(manifest): "dbbackup"}
            assert is_sound(copy)
    assert objects(tmp_path / "offsite") == objects(tmp_path / "storage")


def test_object_that_no_storage_has_intact_stays_and_is_named(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
        for storage in ("storage", "offsite"):
            alter(tmp_path / storage, pack_of(manifest))
        verify(context, VerifyRequest(backup_id=manifest.id))
        clock.forward(hours=1)
        result = heal(context)
        assert not result.healed and "no other storage has" in result.unhealed[pack_of(manifest)]
        assert (tmp_path / "storage/igny8" / pack_of(manifest)).exists()
        assert not is_sound(context)


def test_storage_that_does_not_answer_is_noted(opened: Opened, tmp_path: Path) -> None:
    with opened() as context:
        manifest = backed_up(context)
        (tmp_path / "storage/igny8" / pack_of(manifest)).unlink()
        (tmp_path / "offsite").rmdir()
        assert pack_of(manifest) in heal(context).unhealed


def test_untrusted_backup_is_not_healed(opened: Opened, host: Any, tmp_path: Path) -> None:
    """Otherwise a forged manifest could have objects of its choice copied here."""
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
    (tmp_path / "storage/igny8" / pack_of(manifest)).unlink()
    with host(signs="web", trusts=["web"]) as context:
        assert heal(context) == Healed()
        assert not context.store.exists(pack_of(manifest))


def test_objects_with_right_bytes_are_verified_again_not_replaced(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
        path = tmp_path / "storage/igny8" / pack_of(manifest)
        right = path.read_bytes()
        alter(tmp_path / "storage", pack_of(manifest))
        verify(context, VerifyRequest(backup_id=manifest.id))
        path.write_bytes(right)
        (tmp_path / "offsite/igny8" / keys.manifest_key(manifest.id)).unlink()
        clock.forward(hours=1)
        assert heal(context) == Healed()
        clock.forward(hours=1)
        assert is_sound(context)


def test_restore_reads_missing_and_damaged_objects_from_a_copy(
    opened: Opened, clock: Clock, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    with opened() as context:
        backed_up(context)
        clock.forward(days=1)
        (trees[0] / "a/page").write_text("changed\n")
        manifest = backed_up(context)
        copy_all(context)
        alter(tmp_path / "storage", pack_of(manifest))
        for key in (list_of(manifest), manifest.details.key, manifest.trees[1].packs[0].key):
            (tmp_path / "storage/igny8" / key).unlink()
        with pytest.raises(IntegrityError):
            plan_extract(context, ExtractRequest(to_dir=tmp_path / "without"))
    with opened(healing=True) as context:
        plan = plan_extract(context, ExtractRequest(to_dir=tmp_path / "new"))
        assert {tree.backup_id for tree in plan.trees} == {manifest.id}
        run_extract(context, plan)
        assert isinstance(context.progress, Notes)
        notes = " ".join(context.progress.texts)
    assert f"{pack_of(manifest)} is missing or damaged. It is read from the folder" in notes
    assert (tmp_path / "new/sites/a/page").read_text() == "changed\n"
    assert (tmp_path / "new/uploads/b/page").read_text() == "uploads b as it was\n"


def test_restore_without_a_copy_of_the_object_fails_as_before(opened: Opened, tmp_path: Path) -> None:
    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
    for storage in ("storage", "offsite"):
        alter(tmp_path / storage, pack_of(manifest))
    with opened(healing=True) as context:
        plan = plan_extract(context, ExtractRequest(backup_id=manifest.id, to_dir=tmp_path / "new"))
        with pytest.raises(IntegrityError, match="was altered"):
            run_extract(context, plan)
    assert not [*(tmp_path / "new").rglob("page")]


def test_prune_command_and_task_heal_first(
    opened: Opened, settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pruned(*options: str) -> str:
        with suppress(CommandError):  # what is damaged keeps copies from being removed: status 3
            call_command("prune_backups", *options)
        return capsys.readouterr().out

    with opened() as context:
        manifest = backed_up(context)
        copy_all(context)
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "MAX_AGE": {"sites": None, "uploads": None}}
    path = tmp_path / "storage/igny8" / pack_of(manifest)
    path.unlink()
    assert "HEALED" not in pruned("--dry-run") and not path.exists()
    assert f"HEALED: {pack_of(manifest)} was copied back from offsite." in pruned()
    path.unlink()
    assert prune_backups.apply(throw=True).get()["healed"] == 1
    path.unlink()
    (tmp_path / "offsite/igny8" / pack_of(manifest)).unlink()
    assert f"NOT HEALED: {pack_of(manifest)}: no other storage" in pruned()
