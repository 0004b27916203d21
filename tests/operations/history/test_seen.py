"""A host remembers the pins and the damage that it saw: they hold until something ends them."""

from __future__ import annotations

from typing import Any

import pytest

from igny8_backup.errors import UsageError
from igny8_backup.formats import keys as object_keys
from igny8_backup.formats.documents.annotations import ALTERED, STORED, CheckedPart
from igny8_backup.formats.manifest import Manifest
from igny8_backup.management.commands import list_backups
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import CheckRecorder, VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.clocks import Clock
from tests.operations.signed import SignedSite, backed_up

pytestmark = pytest.mark.slow


class Site(SignedSite):
    """A host with the key ``web``, and other hosts without it."""

    def back_up(self, number: int) -> list[Manifest]:
        made = []
        with self.open() as context:
            for _ in range(number):
                self.clock.forward(hours=1)
                made.append(backed_up(context))
        self.clock.forward(minutes=1)
        return made


@pytest.fixture
def site(host: Any, settings: Any) -> Site:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    return Site(host, Clock())


def remembered(context: BackupContext) -> bool:
    """Whether the monitor finds in storage all that this host remembers."""
    (condition,) = [item for item in monitor(context).conditions if item.name == "remembered"]
    return condition.ok


def damage(context: BackupContext, manifest: Manifest) -> str:
    """Record that the index of a tree in the backup is altered; return its key."""
    key = manifest.trees[0].stored_index.key
    part = CheckedPart(kind="files", name=manifest.trees[0].name)
    recorder = CheckRecorder(context, manifest, depth=STORED, parts=[part])
    recorder.count_manifest(context.store.read_small(object_keys.manifest_key(manifest.id)))
    recorder.add_finding(key, ALTERED, "altered")
    assert not recorder.record().unrecorded
    return key


def forget_checks(context: BackupContext) -> None:
    for item in list(context.store.list(object_keys.CHECKS)):
        context.store.delete(item.key)


def list_status() -> int:
    try:
        list_backups.Command().run_from_argv(["manage.py", "list_backups"])
    except SystemExit as stopped:
        return int(str(stopped.code))
    return 0


def test_pin_that_somebody_deleted_still_holds_and_alarms(site: Site) -> None:
    first, _ = site.back_up(2)
    with site.open() as context:
        pin(context, first.id, "evidence")
        assert remembered(context) and list_status() == 0
        context.store.delete(object_keys.pin_key(first.id))
        assert not remembered(context) and list_status() == 3
        result = prune(context)
        assert result.removed == () and f"The pin of backup {first.id} (evidence)" in result.lost[0]
        unpin(context, first.id)
        assert remembered(context)
        assert prune(context).removed == (first.id,)
        with pytest.raises(UsageError, match="is not pinned"):
            unpin(context, first.id)


@pytest.mark.parametrize(("signs", "ends"), [("web", True), ("attacker", False), ("", False)])
def test_pin_is_ended_only_by_a_trusted_host(site: Site, signs: str, ends: bool) -> None:
    first, _ = site.back_up(2)
    with site.open() as context:
        pin(context, first.id, "evidence")
        read_history(context)
    with site.open(signs=signs) as context:
        unpin(context, first.id)
    with site.open() as context:
        assert remembered(context) == ends
        assert prune(context).removed == ((first.id,) if ends else ())


def test_old_release_does_not_end_a_later_pin(site: Site) -> None:
    first, _ = site.back_up(2)
    with site.open() as context:
        pin(context, first.id, "before")
        unpin(context, first.id)
        site.clock.forward(minutes=1)
        pin(context, first.id, "again")
        assert remembered(context)
        context.store.delete(object_keys.pin_key(first.id))
        assert not remembered(context) and prune(context).removed == ()


def test_damage_whose_record_somebody_deleted_still_counts_and_alarms(site: Site) -> None:
    first, second = site.back_up(2)
    with site.open() as context:
        key = damage(context, second)
        assert read_history(context).standings.damaged_keys == {key} and remembered(context)
        forget_checks(context)
        history = read_history(context)
        assert history.standings.damaged_keys == {key} and not remembered(context)
        assert [item.key for item in history.vanished.damage] == [key]
        assert prune(context).removed == (), "the older copy is the newest good one"
        site.clock.forward(minutes=1)
        verify(context, VerifyRequest(backup_id=second.id, sample=1))
        assert read_history(context).standings.damaged_keys == frozenset() and remembered(context)
        assert prune(context).removed == (first.id,)


def test_damage_is_not_ended_by_an_unsigned_check(site: Site) -> None:
    (manifest,) = site.back_up(1)
    with site.open() as context:
        key = damage(context, manifest)
        read_history(context)
        forget_checks(context)
    site.clock.forward(minutes=1)
    with site.open(signs="") as context:
        verify(context, VerifyRequest(backup_id=manifest.id))
    with site.open() as context:
        assert read_history(context).standings.damaged_keys == {key} and not remembered(context)


def test_storage_that_is_not_mounted_ends_nothing(site: Site) -> None:
    (manifest,) = site.back_up(1)
    with site.open() as context:
        pin(context, manifest.id, "evidence")
        key = damage(context, manifest)
        read_history(context)
        folder = context.store.local_path()
        assert folder is not None
        folder.rename(folder.with_name("disk"))
        folder.mkdir()
        assert not read_history(context).vanished.pins, "the backup itself is reported"
        folder.rmdir()
        folder.with_name("disk").rename(folder)
        context.store.delete(object_keys.pin_key(manifest.id))
        forget_checks(context)
        vanished = read_history(context).vanished
        assert [item.id for item in vanished.pins] == [manifest.id]
        assert [item.key for item in vanished.damage] == [key]


def test_removed_backup_is_forgotten_with_its_pin_and_damage(site: Site) -> None:
    first, _ = site.back_up(2)
    with site.open() as context:
        pin(context, first.id, "evidence")
        damage(context, first)
        unpin(context, first.id)
        assert prune(context).removed == (first.id,)
        assert remembered(context) and prune(context).complete


def test_memory_works_without_keys(host: Any) -> None:
    with host() as context:
        manifest = backed_up(context)
        pin(context, manifest.id, "evidence")
        assert remembered(context)
        context.store.delete(object_keys.pin_key(manifest.id))
        assert not remembered(context)
        unpin(context, manifest.id)
        assert remembered(context)
