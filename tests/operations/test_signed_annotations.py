"""Checks, pins, acceptances and releases: what no trusted key signed can only make a reader more careful."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.formats import keys as object_keys
from igny8_backup.formats import records
from igny8_backup.formats.documents.annotations import (
    ALTERED,
    DRILLED,
    SCHEMA,
    STORED,
    Annotations,
    Check,
    CheckedPart,
    Damage,
)
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.history.documents import manifest_digest, store_signed
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.history.select_copies import select_copies
from igny8_backup.operations.maintain.accept import accept
from igny8_backup.operations.maintain.inventory import read_inventory
from igny8_backup.operations.maintain.pin import pin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import CheckRecorder, VerifyRequest
from igny8_backup.operations.verify.run import verify, verify_backups
from igny8_backup.signing.trust import CHECK
from tests.operations.clocks import Clock
from tests.operations.signed import Keys, SignedSite

pytestmark = pytest.mark.slow

REQUEST = BackupRequest(trees=("sites", "uploads"), full=True)
PARTS = tuple(CheckedPart(kind="files", name=name) for name in ("sites", "uploads"))


class Site(SignedSite):
    """A host ``web`` whose backups are signed, and readers that trust its key."""

    def reader(self, signs: str = "", trusts: Any = ("web",)) -> AbstractContextManager[BackupContext]:
        return self.open(signs, trusts)

    def back_up(self, signs: str = "web") -> Manifest:
        self.clock.forward(hours=1)
        with self.reader(signs) as context:
            manifest = run_backup(context, REQUEST).manifest
        assert manifest
        self.clock.forward(minutes=1)
        return manifest


@pytest.fixture
def site(host: Any) -> Site:
    return Site(host, Clock())


def notes_of(context: BackupContext, manifest: Manifest) -> Annotations:
    return read_history(context).annotations.get(manifest.id, Annotations())


def recorded(context: BackupContext, manifest: Manifest, depth: str = STORED) -> Check:
    """Record a check that found everything sound, as a verification or drill does."""
    recorder = CheckRecorder(context, manifest, depth=depth, parts=PARTS)
    recorder.count_manifest(context.store.read_small(object_keys.manifest_key(manifest.id)))
    recorder.add_sound(*manifest.objects())
    result = recorder.record()
    assert not result.unrecorded
    return result.check


def reported(context: BackupContext, manifest: Manifest, key: str) -> Check:
    """Record that the object ``key`` is altered."""
    recorder = CheckRecorder(context, manifest, depth=STORED, parts=PARTS)
    recorder.count_manifest(context.store.read_small(object_keys.manifest_key(manifest.id)))
    recorder.add_finding(key, ALTERED, f"{key} is altered")
    return recorder.record().check


def failed(context: BackupContext) -> set[str]:
    return {condition.name for condition in monitor(context).failed}


def test_check_signed_by_a_trusted_key_proves_that_a_part_was_drilled(site: Site) -> None:
    manifest = site.back_up()
    with site.reader("web") as context:
        recorded(context, manifest, DRILLED)
    with site.reader() as context:
        assert notes_of(context, manifest).proven
        assert not notes_of(context, manifest).doubts


def test_damage_counts_although_another_object_of_the_tree_could_not_be_read(site: Site) -> None:
    manifest = site.back_up()
    first, second = (tree.stored_index.key for tree in manifest.trees)
    withheld = manifest.trees[0].packs[0].key
    with site.reader("web") as context:
        recorder = CheckRecorder(context, manifest, depth=STORED, parts=PARTS)
        recorder.count_manifest(context.store.read_small(object_keys.manifest_key(manifest.id)))
        recorder.add_finding(first, ALTERED, f"{first} is altered")
        recorder.unread |= {withheld: "withheld", second: "withheld"}
        assert recorder.record().check.parts == PARTS[:1], "the other tree was not judged"
    with site.reader() as context:
        assert read_history(context).standings.damaged_keys == {first}


@pytest.mark.parametrize("signs", ["", "attacker"])
@pytest.mark.parametrize("depth", [STORED, DRILLED])
def test_check_without_a_trusted_signature_proves_nothing(site: Site, signs: str, depth: str) -> None:
    manifest = site.back_up()
    with site.reader(signs, trusts=["web"]) as context:
        recorded(context, manifest, depth)
        found = notes_of(context, manifest)
        assert not found.checks and [check.depth for check in found.reported] == [depth]
        assert not read_inventory(context).part_checks()
        assert not found.proven and depth in found.doubts[0]


def test_acceptance_by_a_host_that_may_not_sign_it_replaces_none_of_later_backups(
    site: Site, trees: tuple[Path, Path]
) -> None:
    site.back_up()
    for root in trees:
        for name in ("a", "b"):
            (root / name / "page").unlink()
    second, third = site.back_up(), site.back_up()
    with site.reader("web") as context:
        accept(context, third.id, "moved away", ("uploads",))
    with site.reader("stranger") as context:
        accept(context, second.id, "moved away", ("sites",))
        found = notes_of(context, third).acceptance
    assert found and [part.name for part in found.parts] == ["uploads"]


def test_check_without_trusted_keys_counts_unsigned(site: Site) -> None:
    manifest = site.back_up(signs="")
    with site.reader(trusts=[]) as context:
        recorded(context, manifest, DRILLED)
        assert notes_of(context, manifest).proven


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        ({"SIGNS": ["manifest", "pin"]}, "may not sign a check"),
        ({"HOSTS": ["web-2"]}, "may not sign for the host web-1"),
        ({"PARTS": ["sites"]}, "may not sign for uploads"),
    ],
)
def test_check_signed_without_the_right_proves_nothing(
    site: Site, keys: Keys, limit: dict[str, Any], problem: str
) -> None:
    manifest = site.back_up()
    with site.reader("laptop", ["web", {"KEY": keys.line("laptop"), **limit}]) as context:
        recorded(context, manifest)
        assert problem in notes_of(context, manifest).doubts[0]


def test_key_that_may_sign_checks_only_drills_and_signs_no_backup(site: Site, keys: Keys) -> None:
    manifest = site.back_up()
    trusts = ["web", {"KEY": keys.line("laptop"), "SIGNS": ["check"]}]
    with site.reader("laptop", trusts) as context:
        recorded(context, manifest, DRILLED)
        assert notes_of(context, manifest).proven
        (entry,) = context.catalog.entries()
        assert not entry.untrusted
        made = run_backup(context, REQUEST)
        assert "may not sign a manifest" in context.catalog.entries([made.id])[0].untrusted


@dataclass(frozen=True)
class Replay:
    """Whoever may write to the storage, and holds no key, stores signed bytes again in another place."""

    context: BackupContext

    def copy(self, source: str, target: str, kind: str, signed_as: str = "") -> None:
        store = self.context.store
        document = store.read_small(source)
        signature = store.read_small(object_keys.signature_key(source, kind, document))
        store.put_small(target, document)
        store.put_small(object_keys.signature_key(target, signed_as or kind, document), signature)


def test_check_replayed_for_another_backup_proves_nothing(site: Site) -> None:
    checked, other = site.back_up(), site.back_up()
    with site.reader("web") as context:
        check = recorded(context, checked, DRILLED)
        source = object_keys.check_key(checked.id, check.started, DRILLED)
        Replay(context).copy(source, object_keys.check_key(other.id, check.started, DRILLED), "check")
    with site.reader() as context:
        assert notes_of(context, other) == Annotations()


@pytest.mark.parametrize("depth", [STORED, DRILLED])
def test_old_check_stored_again_hides_no_newer_one(site: Site, depth: str) -> None:
    """Whoever may write to the storage stores a good old check again, under a later time or another depth."""
    manifest = site.back_up()
    pack = manifest.trees[0].packs[0].key
    with site.reader("web") as context:
        old = recorded(context, manifest)
        site.clock.forward(minutes=1)
        reported(context, manifest, pack)
        site.clock.forward(minutes=1)
        source = object_keys.check_key(manifest.id, old.started, STORED)
        target = object_keys.check_key(manifest.id, site.clock(), depth)
        Replay(context).copy(source, target, "check")
        assert read_history(context).standings.damaged_keys == {pack}
        assert not notes_of(context, manifest).proven


def test_key_of_another_host_or_part_neither_clears_damage_nor_hides_a_check(site: Site, keys: Keys) -> None:
    manifest = site.back_up()
    pack = next(tree for tree in manifest.trees if tree.name == "sites").packs[0].key
    removed = object_keys.make_id(site.clock(), "00dead")
    with site.reader("web") as context:
        reported(context, manifest, pack)
    trusts = [
        "web",
        {"KEY": keys.line("other"), "HOSTS": ["web-2"]},
        {"KEY": keys.line("part"), "SIGNS": ["check"], "PARTS": ["uploads"]},
    ]
    uploads = (CheckedPart(kind="files", name="uploads"),)
    for signs, host, backup_id, parts in (
        ("other", "web-2", removed, PARTS),
        ("part", "web-1", manifest.id, uploads),
        ("part", "web-1", manifest.id, ()),
        ("part", "web-1", removed, uploads),
        ("part", "web-1", removed, None),
    ):
        site.clock.forward(minutes=1)
        with site.reader(signs, trusts) as context:
            forged = Check(
                schema=SCHEMA,
                id=backup_id,
                depth=STORED,
                started=site.clock(),
                finished=site.clock(),
                sample=100,
                objects=9,
                read=9,
                bytes=9,
                sound=(pack,),
                host=host,
                parts=parts,
                manifest_sha256=manifest_digest(context, manifest.id) if backup_id == manifest.id else "",
            )
            key = object_keys.check_key(backup_id, forged.started, STORED)
            store_signed(context, key, CHECK, forged)
            history = read_history(context)
            (stored,) = [item for item in history.stored_checks[backup_id] if item.key == key]
            assert not stored.problem, "the signature itself is right"
            assert history.standings.damaged_keys == {pack}, (signs, backup_id)
    site.clock.forward(minutes=1)
    with site.reader("web", trusts) as context:
        recorded(context, manifest)
        assert not read_history(context).standings.damaged_keys


def test_long_unsigned_check_takes_no_memory_for_what_it_repeats(site: Site) -> None:
    manifest = site.back_up()
    pack = manifest.trees[0].packs[0].key
    with site.reader() as context:
        long = reported(context, manifest, pack)
        key = object_keys.check_key(manifest.id, long.started, STORED)
        long = replace(long, damage=long.damage * 1000, sound=("x",) * 1000)
        context.store.put_small(key, records.to_json(long))
        (found,) = notes_of(context, manifest).reported
        assert found.damage == long.damage[:1] and not found.sound


def test_forged_run_record_does_not_make_a_signed_manifest_look_damaged(site: Site) -> None:
    manifest = site.back_up()
    with site.reader("web") as context:
        run = context.catalog.run(manifest.id)
        assert run
        forged = replace(run, manifest_sha256="0" * 64)
        context.store.put_small(object_keys.run_key(manifest.id), records.to_json(forged))
        inventory = read_inventory(context)
        assert not inventory.absent and all(copy.fit for copy in inventory.standings.copies)
        assert not verify(context, VerifyRequest(backup_id=manifest.id)).findings


def test_check_of_an_earlier_version_of_the_manifest_proves_nothing(site: Site) -> None:
    manifest = site.back_up()
    with site.reader("web") as context:
        recorded(context, manifest, DRILLED)
        changed = replace(manifest, label="another version")
        context.store.put_small(object_keys.manifest_key(manifest.id), records.to_json(changed))
        assert "another version" in notes_of(context, manifest).doubts[0]


def test_signature_of_another_kind_of_document_does_not_count(site: Site) -> None:
    manifest = site.back_up()
    with site.reader("web") as context:
        check = recorded(context, manifest)
        key = object_keys.check_key(manifest.id, check.started, STORED)
        document = records.to_json(replace(check, depth=DRILLED))
        later = object_keys.check_key(manifest.id, check.started, DRILLED)
        signing_key = context.load_signing_key()
        assert signing_key and key != later
        signature = signing_key.sign(document, "pin@igny8-backup")
        context.store.put_small(object_keys.signature_key(later, "check", document), signature)
        context.store.put_small(later, document)
        found = notes_of(context, manifest)
        assert not found.proven and "was not made for check" in found.doubts[0]


def test_signed_check_reports_no_damage_of_objects_of_another_host(site: Site, keys: Keys) -> None:
    """A key that may sign for one host must not make the backups of another look damaged."""
    manifest = site.back_up()
    pack = manifest.trees[0].packs[0].key
    trusts = ["web", {"KEY": keys.line("shop"), "HOSTS": ["shop"]}]
    with site.reader("shop", trusts) as context:
        gone = object_keys.make_id(site.clock(), "00000a")
        check = Check(
            schema=SCHEMA,
            id=gone,
            depth=STORED,
            started=site.clock(),
            finished=site.clock(),
            sample=100,
            objects=1,
            read=1,
            bytes=1,
            damage=(Damage(key=pack, kind=ALTERED),),
            host="shop",
            parts=(),
        )
        document, key = records.to_json(check), object_keys.check_key(gone, site.clock(), STORED)
        signing_key = context.load_signing_key()
        assert signing_key
        signature = signing_key.sign(document, "check@igny8-backup")
        context.store.put_small(object_keys.signature_key(key, "check", document), signature)
        context.store.put_small(key, document)
        history = read_history(context)
        assert [item.id for item in history.past_checks] == [gone], "the check itself counts"
        assert all(copy.fit for copy in history.standings.copies)


def test_unsigned_damage_report_alarms_and_is_checked_but_chooses_nothing(site: Site) -> None:
    older, newer = site.back_up(), site.back_up()
    pack = newer.trees[0].packs[0].key
    with site.reader("web") as context:
        assert "damage" not in failed(context)
    with site.reader() as context:
        reported(context, newer, pack)
    with site.reader("web") as context:
        assert [item.key for item in read_history(context).reported] == [pack]
        assert "damage" in failed(context)
        selected = select_copies(context, None, databases=(), trees=("sites", "uploads"))
        assert {manifest.id for manifest, _ in selected.trees} == {newer.id}
        site.clock.forward(minutes=1)
        result = verify_backups(context, VerifyRequest(sample=1))
        assert pack in {key for one in result.results for key in one.check.sound or ()}
        assert "damage" not in failed(context), "a signed check has read the object"
        assert older.id in {entry.id for entry in context.catalog.entries()}


def test_unsigned_damage_report_of_an_old_backup_is_checked_by_the_next_verification(site: Site) -> None:
    older, newer = site.back_up(), site.back_up()
    with site.reader() as context:
        reported(context, older, older.trees[0].packs[0].key)
    with site.reader("web") as context:
        result = verify_backups(context, VerifyRequest())
        assert {one.check.id for one in result.results} == {older.id, newer.id}


def test_signed_damage_is_not_cleared_by_an_unsigned_check(site: Site) -> None:
    manifest = site.back_up()
    pack = manifest.trees[0].packs[0].key
    with site.reader("web") as context:
        reported(context, manifest, pack)
    site.clock.forward(minutes=1)
    with site.reader() as context:
        recorded(context, manifest)
        assert read_history(context).standings.damaged_keys == {pack}
    site.clock.forward(minutes=1)
    with site.reader("web") as context:
        recorded(context, manifest)
        assert not read_history(context).standings.damaged_keys


def test_unsigned_pin_still_holds(site: Site, settings: Any) -> None:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 1}}
    made = [site.back_up() for _ in range(3)]
    with site.reader() as context:
        pin(context, made[0].id, "before the move")
        assert "The pin holds" in notes_of(context, made[0]).doubts[0]
    with site.reader("web") as context:
        assert prune(context).removed == (made[1].id,)


@pytest.mark.parametrize(("signs", "counts"), [("web", True), ("attacker", False), ("", False)])
def test_acceptance_counts_only_with_a_trusted_signature(
    site: Site, trees: tuple[Path, Path], signs: str, counts: bool
) -> None:
    site.back_up()
    for page in sorted(trees[0].rglob("page"))[1:]:
        page.unlink()
    smaller = site.back_up()
    with site.reader(signs, trusts=["web"]) as context:
        accept(context, smaller.id, "moved away")
        history = read_history(context)
        suspect = [copy.part.name for copy in history.standings.of_backup(smaller.id) if copy.suspect]
        assert suspect == ([] if counts else ["sites"])
        assert (notes_of(context, smaller).acceptance is not None) == counts


def test_result_that_will_not_count_is_noted(site: Site, context: BackupContext) -> None:
    manifest = site.back_up()
    noted: list[str] = []
    with site.reader() as reader:
        reader = replace(reader, progress=_Noting(noted.append))
        verify_backups(reader, VerifyRequest(backup_id=manifest.id))
    assert "The result will not count" in noted[0] and "no signing key" in noted[0]


class _Noting:
    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None: ...

    def advance(self, amount: int, count: int = 0) -> None: ...

    def end(self) -> None: ...


def test_check_that_cannot_be_signed_is_reported_as_unrecorded(site: Site, keys: Keys) -> None:
    manifest = site.back_up()
    with site.reader("web") as context:
        keys.file("web").chmod(0o644)
        result = verify(context, VerifyRequest(backup_id=manifest.id))
        assert "Other users may read" in result.unrecorded
        assert not notes_of(context, manifest).checks


def test_one_bad_read_of_a_shared_pack_does_not_empty_a_week(site: Site, settings: Any) -> None:
    """Damaged backups go one by one, as the policy would let them go if they were sound."""
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "RETENTION": {"last": 3}}
    week = [site.back_up() for _ in range(7)]
    first = week[0].trees[0]
    shared = first.packs
    with site.reader("web") as context:
        for manifest in week[1:]:  # all seven need the packs of the first
            trees = (replace(manifest.trees[0], pack_lists=first.pack_lists), *manifest.trees[1:])
            document = records.to_json(replace(manifest, trees=trees))
            _sign(context, manifest.id, document)
        reported(context, context.catalog.get(week[-1].id), shared[0].key)
        history = read_history(context)
        assert [copy.part.name for copy in history.standings.copies if copy.damaged] == ["sites"] * 7
        result = prune(context)
        assert result.removed == () and [block.part.name for block in result.plan.blocked] == ["sites"]
    newest = site.back_up()
    with site.reader("web") as context:
        removed = prune(context).removed
        kept = {entry.id for entry in context.catalog.entries()}
        assert newest.id in kept and kept.isdisjoint(removed)
        assert {week[-1].id, week[-2].id} <= kept, "as many as if they were sound"


def _sign(context: BackupContext, backup_id: str, document: bytes) -> None:
    key, signing_key = object_keys.manifest_key(backup_id), context.load_signing_key()
    assert signing_key
    signature = signing_key.sign(document, "manifest@igny8-backup")
    context.store.put_small(object_keys.signature_key(key, "manifest", document), signature)
    context.store.put_small(key, document)
    run = context.catalog.run(backup_id)
    assert run
    context.store.put_small(object_keys.run_key(backup_id), records.to_json(replace(run, manifest_sha256="")))
