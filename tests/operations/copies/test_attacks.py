"""Who may write to the storage of the backups, or to that of a copy, cannot turn one against the other."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.signatures import store_signature
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import Pin
from igny8_backup.formats.lists import PackList
from igny8_backup.formats.manifest import Manifest
from igny8_backup.locks.host import file_lock
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.copies import one_backup
from igny8_backup.operations.copies.heal import heal
from igny8_backup.operations.copies.run import choose_copies, copy_backups
from igny8_backup.operations.history.documents import manifest_digest, record_removal
from igny8_backup.operations.history.presence import lost_backups
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.maintain.accept import accept
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.copy_conditions import copy_conditions
from igny8_backup.operations.sign import sign_backups
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.retention.rules import Policy
from igny8_backup.signing.trust import MANIFEST
from igny8_backup.store import UnreachableError
from tests.operations.clocks import Clock
from tests.operations.copies.conftest import Opened
from tests.operations.copies.test_run import copy_all
from tests.operations.signed import backed_up

pytestmark = pytest.mark.slow

STORAGES = ("storage", "offsite")


class Places:
    """The storage of signed backups and its copy, as one host sees them."""

    def __init__(self, opened: Opened, home: Path, clock: Clock) -> None:
        self._opened, self._home, self._clock = opened, home, clock

    @contextmanager
    def at(self, storage: str) -> Iterator[BackupContext]:
        """A context that changes the backups in that storage, some time after the last one."""
        self._clock.forward(hours=1)
        with self._opened("dbbackup" if storage == "storage" else storage, changing=True) as context:
            yield context

    def file(self, storage: str, key: str) -> Path:
        return self._home / storage / "igny8" / key

    def replay(self, key: str, source: str, target: str) -> None:
        """Copy the objects under ``key`` from one storage to the other, as whoever may write there can."""
        shutil.copytree(self.file(source, key), self.file(target, key), dirs_exist_ok=True)


@pytest.fixture
def places(host: Any, opened: Opened, tmp_path: Path, clock: Clock) -> Iterator[Places]:
    with opened(), host(signs="web", trusts=["web"], clock=clock):
        yield Places(opened, tmp_path, clock)


@pytest.fixture
def copied(places: Places) -> Manifest:
    """A signed backup that is in both storages."""
    with places.at("storage") as context:
        manifest = backed_up(context)
        assert copy_all(context).copied == (manifest.id,)
    return manifest


def naming_another_list(context: BackupContext, places: Places, manifest: Manifest) -> tuple[str, bytes]:
    """Make and sign a backup that names the list of ``manifest`` with a digest of other bytes.

    Return its id and these bytes."""
    made = backed_up(context)
    other = places.file("storage", manifest.trees[0].pack_lists[0].key).read_bytes() + b"\n"
    digest = hashlib.sha256(other).hexdigest()

    def forged(found: PackList) -> PackList:
        return replace(found, sha256=digest, stored_bytes=len(other))

    trees = tuple(replace(tree, pack_lists=tuple(map(forged, tree.pack_lists))) for tree in made.trees)
    document = records.to_json(replace(made, trees=trees))
    signing_key = context.load_signing_key()
    assert signing_key
    store_signature(context.store, signing_key, keys.manifest_key(made.id), MANIFEST, document)
    context.store.put_small(keys.manifest_key(made.id), document)
    return made.id, other


@pytest.mark.parametrize("damaged", STORAGES)
def test_check_of_another_storage_clears_no_damage(places: Places, copied: Manifest, damaged: str) -> None:
    other = next(name for name in STORAGES if name != damaged)
    path = places.file(damaged, copied.trees[0].packs[0].key)
    path.write_bytes(bytes(path.stat().st_size))
    with places.at(damaged) as context:
        assert verify(context, VerifyRequest(backup_id=copied.id)).findings
    with places.at(other) as context:
        assert not verify(context, VerifyRequest(backup_id=copied.id)).findings
    places.replay(keys.checks_folder(copied.id), other, damaged)
    with places.at(damaged) as context:
        history = read_history(context)
    assert not all(copy.fit for copy in history.standings.copies)
    assert "was not made for" in " ".join(history.annotations[copied.id].doubts)


@pytest.mark.parametrize("lost", STORAGES)
def test_removal_from_another_storage_does_not_excuse_a_loss(
    places: Places, copied: Manifest, lost: str
) -> None:
    other = next(name for name in STORAGES if name != lost)
    with places.at(other) as context:
        record_removal(context, copied.id, host="web-1", parts=["files:sites"], reason="pruned")
    places.replay(keys.REMOVED, other, lost)
    places.file(lost, keys.manifest_key(copied.id)).unlink()
    with places.at(lost) as context:
        assert [run.id for run in lost_backups(context, [], context.catalog.runs())] == [copied.id]


def test_end_of_a_pin_in_another_storage_ends_no_pin(places: Places, copied: Manifest) -> None:
    with places.at("offsite") as context:
        pin(context, copied.id, "the copy for the court")
        read_history(context)
    with places.at("storage") as context:
        pin(context, copied.id, "until the audit")
        unpin(context, copied.id)
    places.replay(keys.backup_folder(copied.id), "storage", "offsite")
    places.file("offsite", keys.pin_key(copied.id)).unlink()
    with places.at("offsite") as context:
        assert [item.id for item in read_history(context).vanished.pins] == [copied.id]


def test_copy_gets_the_pin_and_the_acceptance_that_its_backup_got_later(
    places: Places, copied: Manifest
) -> None:
    policy = Policy(last=1, proven=0)
    with places.at("storage") as context:
        newer = backed_up(context)
        pin(context, copied.id, "until the audit")
        accept(context, copied.id, "counted by hand", ("sites",))
        assert copy_all(context).complete
    with places.at("offsite") as context:
        context = replace(context, config=replace(context.config, retention=policy))
        notes = read_history(context).annotations[copied.id]
        assert notes.pin and notes.pin.reason == "until the audit" and not notes.doubts
        assert notes.acceptance and [part.name for part in notes.acceptance.parts] == ["sites"]
        assert not prune(context).removed
        unpin(context, copied.id)
    with places.at("storage") as context:
        unpin(context, copied.id)
        assert copy_all(context).complete
    with places.at("offsite") as context:
        context = replace(context, config=replace(context.config, retention=policy))
        assert prune(context).removed == (copied.id,)
        assert [entry.id for entry in context.catalog.entries()] == [newer.id]


def test_acceptance_of_a_rotated_backup_does_not_replace_one_that_counts_in_the_copy(
    places: Places, copied: Manifest
) -> None:
    with places.at("storage") as context:
        accept(context, copied.id, "counted by hand", ("sites",))
        assert copy_all(context).complete
        document = records.to_json(replace(copied, replaces=(manifest_digest(context, copied.id),)))
        signing_key = context.load_signing_key()
        assert signing_key
        store_signature(context.store, signing_key, keys.manifest_key(copied.id), MANIFEST, document)
        context.store.put_small(keys.manifest_key(copied.id), document)
    with places.at("storage") as context:
        accept(context, copied.id, "counted again", ("sites",))
        assert copy_all(context).complete
    with places.at("offsite") as context:
        notes = read_history(context).annotations[copied.id]
    assert notes.acceptance and [part.reason for part in notes.acceptance.parts] == ["counted by hand"]


def test_copy_of_an_unsigned_pin_is_unsigned(places: Places, copied: Manifest) -> None:
    planted = Pin(schema=1, id=copied.id, reason="keep it", pinned=copied.started)
    with places.at("storage") as context:
        context.store.put_small(keys.pin_key(copied.id), records.to_json(planted))
        copy_all(context)
    with places.at("offsite") as context:
        notes = read_history(context).annotations[copied.id]
    assert notes.pin == planted and "The pin holds, although" in notes.doubts[0]


def test_copy_replaces_no_object_that_another_backup_of_the_copy_needs(
    places: Places, copied: Manifest
) -> None:
    """A host replaces a list of an earlier backup, which it deletes, and signs a manifest that names it."""
    with places.at("storage") as context:
        forged, other = naming_another_list(context, places, copied)
        key = copied.trees[0].pack_lists[0].key
        places.file("storage", key).write_bytes(other)
        context.store.delete(keys.manifest_key(copied.id))
        before = places.file("offsite", key).read_bytes()
        result = copy_all(context, backup_id=forged)
    assert "too, but with another digest" in result.failed[forged]
    assert places.file("offsite", key).read_bytes() == before != other


def test_healing_replaces_no_object_that_another_backup_needs(places: Places, copied: Manifest) -> None:
    """A host signs a manifest that names a list with another digest, and puts such a list into the copy."""
    with places.at("storage") as context:
        _, other = naming_another_list(context, places, copied)
        key = copied.trees[0].pack_lists[0].key
        before = places.file("storage", key).read_bytes()
        places.file("offsite", key).write_bytes(other)
        result = heal(context)
    assert "different digests" in result.unhealed[key] and places.file("storage", key).read_bytes() == before


def test_object_that_the_storage_does_not_return_now_is_not_replaced(
    places: Places, copied: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be right: the storage returned other bytes to the check, and returns nothing to the healing."""
    key = copied.trees[0].packs[0].key
    path = places.file("storage", key)
    right = path.read_bytes()
    with places.at("storage") as context:
        path.write_bytes(bytes(len(right)))
        assert verify(context, VerifyRequest(backup_id=copied.id)).findings
        path.write_bytes(right)
    with places.at("storage") as context:
        read = context.store.open

        def unreachable(name: str) -> Any:
            if name == key:
                raise UnreachableError("The storage does not answer.")
            return read(name)

        monkeypatch.setattr(context.store, "open", unreachable)
        result = heal(context)
    assert "does not answer" in result.unhealed[key] and path.read_bytes() == right


def test_pack_that_somebody_has_put_into_the_copy_is_read_before_a_new_backup_relies_on_it(
    places: Places,
) -> None:
    """A signed backup, planted in a copy before it is copied there, must not spoil the backups after it."""
    with places.at("storage") as context:
        first = backed_up(context)
        pack = first.trees[0].packs[0].key
        for folder in (keys.backup_folder(first.id), keys.PACKS):
            places.replay(folder, "storage", "offsite")
        right = places.file("storage", pack).read_bytes()
        places.file("offsite", pack).write_bytes(bytes(len(right)))
        second = backed_up(context)
        assert pack in {item.key for item in second.objects()}
        assert second.id in copy_all(context).copied
    assert places.file("offsite", pack).read_bytes() == right


def test_signature_that_the_copy_has_lost_is_copied_again(places: Places, copied: Manifest) -> None:
    shutil.rmtree(places.file("offsite", keys.backup_folder(copied.id)) / "signatures")
    with places.at("storage") as context:
        assert copy_all(context).complete
    with places.at("offsite") as copy:
        assert [entry.untrusted for entry in copy.catalog.entries()] == [""]


def test_copy_of_a_backup_with_other_recipients_is_no_other_backup(
    places: Places, copied: Manifest, clock: Clock
) -> None:
    """rotate_recipients has replaced the manifest of the original, but not yet that of the copy."""
    with places.at("storage") as context:
        rotated = replace(copied, replaces=(manifest_digest(context, copied.id),))
        document = records.to_json(rotated.as_stored())
        signing_key = context.load_signing_key()
        assert signing_key
        store_signature(context.store, signing_key, keys.manifest_key(copied.id), MANIFEST, document)
        context.store.put_small(keys.manifest_key(copied.id), document)
        before = sorted(places.file("offsite", keys.backup_folder(copied.id)).rglob("*"))
        assert copy_all(context).complete
        clock.forward(days=2)
        found = {one.name: one for one in copy_conditions(context, read_inventory(context))}
    assert found["uncopied"].ok
    assert sorted(places.file("offsite", keys.backup_folder(copied.id)).rglob("*")) == before


def test_monitor_names_a_copy_that_has_lost_its_signature(
    places: Places, copied: Manifest, clock: Clock
) -> None:
    shutil.rmtree(places.file("offsite", keys.backup_folder(copied.id)) / "signatures")
    clock.forward(days=2)
    with places.at("storage") as context:
        found = {one.name: one for one in copy_conditions(context, read_inventory(context))}
    assert not found["uncopied"].ok and copied.id in found["uncopied"].text


def test_backup_planted_in_a_new_copy_is_not_signed_later(
    host: Any, opened: Opened, places: Places, settings: Any, tmp_path: Path
) -> None:
    """Who plants an unsigned backup before the copy is first listed, and then the same one in the storage."""
    with places.at("storage") as context:
        backed_up(context)
        context.catalog.entries()
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATE_DIR": tmp_path / "attacker"}
    with host() as context:
        planted = backed_up(context)
    folder = keys.backup_folder(planted.id)
    shutil.move(places.file("storage", folder), places.file("offsite", folder))
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "STATE_DIR": tmp_path / "state"}
    with host(signs="web", trusts=["web"]):
        with places.at("offsite") as copy:
            assert [entry.id for entry in copy.catalog.entries()] == [planted.id]
        places.replay(folder, "offsite", "storage")
        with places.at("storage") as context:
            assert planted.id in sign_backups(context).refused


def test_locked_copy_does_not_keep_the_storage_locked(
    places: Places, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Whoever holds a lock in the copy must not make runs wait that have nothing to do with the copy."""
    monkeypatch.setattr(one_backup, "LOCK_WAIT", 0)
    with places.at("storage") as context, places.at("offsite") as copy:
        backed_up(context)
        state = context.config.state_dir
        with (
            file_lock(context.store, state, doing="a backup", now=clock()),
            file_lock(copy.store, state, doing="an attack", now=clock()),
        ):
            (result,) = copy_backups(context, choose_copies(context)).copies
    assert "an attack" in result.problem
