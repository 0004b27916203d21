"""Other recipients for existing backups: the new identity opens them, the old one does not."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.signatures import store_document
from igny8_backup.errors import IdentityError, UsageError
from igny8_backup.formats import keys as object_keys
from igny8_backup.formats import records
from igny8_backup.formats.lists import BLOCK_BYTES
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.copies.run import choose_copies, copy_backups
from igny8_backup.operations.history.documents import manifest_digest
from igny8_backup.operations.keys.identity_check import CLOSED, OPENED, check_identity
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.pin import pin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.read.details import read_details
from igny8_backup.operations.rotate.run import rotate
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.signing.trust import MANIFEST
from igny8_backup.streams.age import load_identities
from tests.operations.nights import running
from tests.operations.rotate.conftest import Site
from tests.operations.signed import REQUEST, Keys, folder
from tests.streams.conftest import Program, installed

pytestmark = pytest.mark.slow

__all__ = ["installed"]


def states(site: Site, reader: str) -> set[str]:
    with site.open(reader) as context:
        return {found.state for found in check_identity(context, site.people[reader].file).backups}


def manifest_of(site: Site, backup_id: str) -> Manifest:
    with site.open("alice") as context:
        return context.catalog.get(backup_id)


def change(trees: tuple[Path, Path], text: str) -> None:
    (trees[0] / "a" / "page").write_text(text)


def test_rotated_backups_are_opened_by_the_new_identity_and_not_by_the_old_one(
    site: Site, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    first = site.back_up("alice")
    change(trees, "changed\n")
    second = site.back_up("alice")
    assert not second.trees[0].full
    plan = site.plan("alice", "bob")
    assert [set(group.ids) for group in plan.groups] == [{first.id, second.id}] and plan.bytes
    assert set(site.rotate("alice", "bob").rotated) == {first.id, second.id}
    assert states(site, "bob") == {OPENED} and states(site, "alice") == {CLOSED}
    new = manifest_of(site, second.id)
    assert new.recipients == (site.people["bob"].recipient,) and len(new.replaces) == 1
    assert not {item.key for item in new.objects()} & {item.key for item in second.objects()}
    site.extract("bob", second.id, tmp_path / "second")
    site.extract("bob", first.id, tmp_path / "first")
    assert (tmp_path / "second/sites/a/page").read_text() == "changed\n"
    assert (tmp_path / "first/sites/a/page").read_text() == "sites a as it was\n"
    with site.open("bob") as context, pytest.raises(IdentityError, match="not encrypted to this identity"):
        read_details(context, new, load_identities(site.people["alice"].file))
    for depth in ("stored", "content"):
        with site.open("bob") as context:
            request = VerifyRequest(backup_id=new.id, depth=depth, identity_file=site.people["bob"].file)
            assert not verify(context, request).findings
    assert site.rotate("bob", "bob").rotated == ()


def test_manifest_that_only_claims_to_be_rotated_is_not_rotated(site: Site) -> None:
    """A host may sign it under the id of another host's backup, whose signature must stay as the evidence."""
    victim = site.back_up("alice")
    with site.open("alice") as context:
        key = object_keys.manifest_key(victim.id)
        forged = replace(victim, label="forged", replaces=(manifest_digest(context, victim.id),))
        store_document(context.store, context.load_signing_key(), key, MANIFEST, records.to_json(forged))
        before = set(context.store.list(object_keys.backup_folder(victim.id)))
    result = site.rotate("alice", "bob")
    assert "signature of another manifest" in result.refused[victim.id]
    with site.open("alice") as context:
        assert set(context.store.list(object_keys.backup_folder(victim.id))) == before


def test_rotation_keeps_a_part_of_a_fleet_backup_in_it(site: Site) -> None:
    fleet, first = "20261130T011500Z-ab12cd", site.back_up("alice")
    with site.open("alice") as context:
        made = run_backup(context, replace(REQUEST, fleet=fleet))
        context.store.delete(object_keys.lock_key(fleet))  # as its coordinator does
        before = set(context.store.list(object_keys.FLEETS))
        assert before
    assert set(site.rotate("alice", "bob").rotated) == {first.id, made.id}
    assert manifest_of(site, made.id).fleet == fleet
    with site.open("bob") as context:
        assert set(context.store.list(object_keys.FLEETS)) == before


def test_age_opens_a_rotated_object(site: Site, installed: Program) -> None:
    made = site.back_up("alice")
    site.rotate("alice", "bob")
    with site.open("bob") as context:
        (pack,) = manifest_of(site, made.id).trees[0].packs
        data = context.store.read_small(pack.key)
    argv = [installed("age"), "-d", "-i", str(site.people["bob"].file)]
    plain = subprocess.run(argv, input=data, stdout=-1, check=True).stdout
    tar = subprocess.run([installed("zstd"), "-dc"], input=plain, stdout=-1, check=True).stdout
    listed = subprocess.run(["tar", "-t"], input=tar, stdout=-1, check=True)
    assert b"./a/page" in listed.stdout.split()


def test_objects_of_several_blocks_are_checked_by_block_after_a_rotation(
    site: Site, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    content = random.Random(17).randbytes(2 * BLOCK_BYTES)
    (trees[0] / "large").write_bytes(content)
    made = site.back_up("alice")
    site.rotate("alice", "bob", "carol")
    new = manifest_of(site, made.id)
    (pack,) = new.trees[0].packs
    assert (
        pack.stored_bytes > 2 * BLOCK_BYTES
        and pack.blocks_in
        and pack.blocks_in.key != made.trees[0].pack_lists[0].key
    )
    with site.open("bob") as context:
        assert len(context.lists.digests(context.store, pack)) == 3 * 32
    site.extract("carol", made.id, tmp_path / "new")
    assert (tmp_path / "new/sites/large").read_bytes() == content


def test_next_backup_after_a_rotation_is_full(site: Site) -> None:
    site.back_up("alice", "bob")
    site.rotate("alice", "alice")
    following = site.back_up("alice")
    assert all(tree.full for tree in following.trees)
    assert all(
        object_keys.pack_writer(object_keys.pack_of(pack.key)) == following.id
        for pack in following.trees[0].packs
    )
    assert site.rotate("alice", "alice").rotated == ()


def test_old_objects_are_removed_by_prune_and_nothing_else(site: Site, tmp_path: Path) -> None:
    first, second = site.back_up("alice"), site.back_up("alice")
    site.rotate("alice", "bob")
    old = {item.key for made in (first, second) for item in made.objects()}
    with site.open("bob") as context:
        assert {item.key for item in find_orphans(context).orphans} == old
        found = prune(context)
        assert not found.unreadable and not found.swept and {item.key for item in found.waiting} == old
    site.clock.forward(hours=24)
    with site.open("bob") as context:
        found = prune(context)
        assert not found.unreadable and {item.key for item in found.swept} == old and not found.removed
        assert not find_orphans(context).orphans
    site.extract("bob", second.id, tmp_path / "after")


def test_annotations_of_a_rotated_backup_still_count(site: Site) -> None:
    made = site.back_up("alice")
    with site.open("alice") as context:
        verify(context, VerifyRequest(backup_id=made.id))
        pin(context, made.id, "the audit")
    site.rotate("alice", "bob")
    with site.open("bob") as context:
        inventory = read_inventory(context)
        found = inventory.annotations[made.id]
    assert found.pin and found.checks and not found.doubts and found.checks[0].sound == ()
    assert not inventory.vanished.texts("") and inventory.standings.copies[0].fit


@pytest.mark.parametrize("kinds", [["manifest"], ["manifest", "check"]])
def test_checks_count_after_a_rotation_if_its_key_may_sign_checks(
    site: Site, keys: Keys, kinds: list[str]
) -> None:
    made = site.back_up("alice")
    with site.open("alice") as context:
        verify(context, VerifyRequest(backup_id=made.id))
    trusts = ["web", {"KEY": keys.line("ops"), "SIGNS": kinds}]
    assert site.rotate("alice", "bob", signs="ops", trusts=trusts).rotated == (made.id,)
    with site.open("bob", trusts=trusts) as context:
        found = read_inventory(context).annotations[made.id]
    assert bool(found.checks) == ("check" in kinds) and bool(found.doubts) == ("check" not in kinds)


def test_ids_select_backups_that_share_packs_too(site: Site, trees: tuple[Path, Path]) -> None:
    first, second = site.back_up("alice"), site.back_up("alice")
    other = site.back_up("alice", "bob")  # a full backup, because the recipients have changed
    found = site.rotate("alice", "bob", ids=(first.id,))
    assert set(found.rotated) == {first.id, second.id}
    assert manifest_of(site, other.id) == other
    with pytest.raises(UsageError, match="There is no backup 'x'"):
        site.plan("alice", "bob", ids=("x",))


def test_what_cannot_be_rotated_stays_as_it_is(site: Site, trees: tuple[Path, Path]) -> None:
    plain, other, damaged = site.back_up(), site.back_up("carol"), site.back_up("alice")
    with site.open("alice") as context:
        path = folder(context, damaged).parents[1] / damaged.trees[0].packs[0].key
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    result = site.rotate("alice", "bob")
    assert result.rotated == () and result.left == {plain.id: "it is not encrypted"}
    assert result.refused[other.id] == "the identity does not open it"
    assert "is damaged" in result.refused[damaged.id] or "was altered" in result.refused[damaged.id]
    assert manifest_of(site, damaged.id) == damaged
    assert any("NOT ROTATED" in line for line in result.problems())


def test_untrusted_backup_is_not_rotated(site: Site) -> None:
    made = site.back_up("alice")
    plan = site.plan("alice", "bob", trusts=["other"], signs="other")
    assert not plan.groups and "it is not trusted" in plan.refused[made.id]


def test_rotation_without_a_key_that_may_sign_is_refused(site: Site) -> None:
    made = site.back_up("alice")
    plan = site.plan("alice", "bob", signs="")
    assert not plan.groups and "this host has no signing key" in plan.refused[made.id]


def test_rotation_while_a_backup_runs_is_refused(site: Site) -> None:
    made = site.back_up("alice")
    with site.open("alice") as context:
        running(context, "20260903T011500Z-7f3a9c")
    assert "is running" in site.plan("alice", "bob").refused[made.id]


def test_unreadable_manifest_stops_the_rotation_of_shared_packs(site: Site) -> None:
    made, broken = site.back_up("alice"), site.back_up("alice")
    with site.open("alice") as context:
        (folder(context, broken) / "manifest.json").write_bytes(b"damaged")
    plan = site.plan("alice", "bob")
    assert "manifest cannot be read" in plan.refused[made.id] and broken.id in plan.refused[made.id]
    assert broken.id in plan.refused


def test_group_that_grew_after_the_plan_is_not_rotated(site: Site) -> None:
    site.back_up("alice")
    plan = site.plan("alice", "bob")
    site.back_up("alice")
    with site.open("bob") as context:
        result = rotate(context, plan, site.people["alice"].file)
    assert not result.rotated and all("run the command again" in text for text in result.refused.values())


def test_rotation_without_recipients_is_refused(site: Site) -> None:
    site.back_up("alice")
    with pytest.raises(UsageError, match="The settings name no recipients"):
        site.plan("alice")


def add_copy(site: Site, folder: Path, **copy: Any) -> None:
    """Let the site copy its backups to ``folder``; ``copy`` are further keys of that copy in COPIES."""
    folder.mkdir()
    backend = "django.core.files.storage.FileSystemStorage"
    storage = {"BACKEND": backend, "OPTIONS": {"location": str(folder)}}
    site.settings.STORAGES = {**site.settings.STORAGES, "offsite": storage}
    copies = {"offsite": {"storage": "offsite", **copy}}
    site.settings.IGNY8_BACKUP = {**site.settings.IGNY8_BACKUP, "COPIES": copies}


def test_copy_of_some_parts_is_not_rotated(site: Site, tmp_path: Path) -> None:
    add_copy(site, tmp_path / "offsite", parts=["files:sites"])
    made = site.back_up("alice")
    with site.open("alice") as context:
        (copied,) = copy_backups(context, choose_copies(context)).copies
    assert copied.copied == (made.id,)
    result = site.rotate("alice", "bob", storage_alias="offsite", changing=True)
    assert result.rotated == () and "only some parts" in str(result)


def test_rotated_backups_and_their_copies_are_still_the_same_backups(site: Site, tmp_path: Path) -> None:
    add_copy(site, tmp_path / "offsite")
    made = site.back_up("alice")

    def copy() -> None:
        with site.open("bob") as context:
            (result,) = copy_backups(context, choose_copies(context)).copies
            assert made.id in (*result.copied, *result.present) and not (result.failed or result.problem)

    copy()
    site.rotate("alice", "bob")
    copy()
    assert site.rotate("alice", "bob", storage_alias="offsite", changing=True).rotated == (made.id,)
    copy()
    with site.open("bob", storage_alias="offsite") as context:
        assert check_identity(context, site.people["bob"].file).complete
