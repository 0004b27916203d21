"""Verify every backup in one run: shared objects are read once, damage is reported for each backup."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from igny8_backup.catalog.annotations import read_annotations
from igny8_backup.errors import IdentityError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import ALTERED, CONTENT, STORED, UNREADABLE
from igny8_backup.formats.manifest import Manifest
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.verify.all_results import AllVerified
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify, verify_all
from igny8_backup.streams.age import generate_identity
from igny8_backup.streams.pipeline import from_bytes
from tests.operations.clocks import Clock, by_clock
from tests.operations.conftest import Notes

pytestmark = pytest.mark.slow

NIGHTS = 4


class Read(Notes):
    """Counts the bytes that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def advance(self, amount: int, count: int = 0) -> None:
        self.bytes += amount


@pytest.fixture
def clock() -> Clock:
    """A clock ahead of the files, so that every file is old when it is read."""
    return Clock(datetime.now(UTC))


@pytest.fixture
def nights(context: BackupContext, trees: tuple[Path, Path], clock: Clock) -> BackupContext:
    """A context with a few backups of one tree in storage; one page changes between them."""
    context = replace(by_clock(context, clock), progress=Read())
    (trees[0] / "b" / "page").write_bytes(
        os.urandom(50_000)
    )  # so that the unchanged part outweighs the changes
    for night in range(NIGHTS):
        clock.forward(days=1)
        (trees[0] / "a" / "page").write_text(f"night {night}\n")
        run_backup(context, BackupRequest(trees=("sites",)))
    assert isinstance(context.progress, Read)
    context.progress.bytes = 0
    return context


def harm(context: BackupContext, tmp_path: Path) -> str:
    """Alter a pack that all backups need; return its key."""
    (first, *_) = sorted(context.catalog.manifests(), key=lambda manifest: manifest.id)
    pack = first.trees[0].packs[0]
    path = tmp_path / "storage/igny8" / pack.key
    path.write_bytes(bytes(path.stat().st_size))
    assert all(pack in manifest.objects() for manifest in context.catalog.manifests())
    return pack.key


@pytest.mark.parametrize("depth", [STORED, CONTENT])
def test_verify_all_shared_packs_are_read_once(nights: BackupContext, depth: str) -> None:
    found = verify_all(nights, VerifyRequest(depth=depth))
    assert found.complete and [result.check.id for result in found.results] == sorted(
        read_annotations(nights.store)
    )
    assert all(result.check.read == result.check.objects for result in found.results)
    every = {item.key: item.stored_bytes for one in nights.catalog.manifests() for item in one.objects()}
    shared = sum(len(manifest.objects()) for manifest in nights.catalog.manifests()) - len(every)
    assert shared >= NIGHTS - 1
    assert isinstance(nights.progress, Read) and nights.progress.bytes == sum(every.values())


@pytest.fixture
def renamed_nights(nights: BackupContext, trees: tuple[Path, Path], clock: Clock) -> BackupContext:
    """A context with further backups; before each of them, a file was renamed or copied."""
    root = trees[0]
    (root / "b" / "page").rename(root / "page, renamed")
    for number in range(2):
        clock.forward(days=1)
        run_backup(nights, BackupRequest(trees=("sites",)))
        (root / f"copy {number}").write_bytes((root / "page, renamed").read_bytes())
    return nights


def test_verify_all_packs_of_renamed_files_are_read_once(renamed_nights: BackupContext) -> None:
    assert isinstance(renamed_nights.progress, Read)
    renamed_nights.progress.bytes = 0
    found = verify_all(renamed_nights, VerifyRequest(depth=CONTENT))
    assert found.complete and not any(kinds(found))
    manifests = renamed_nights.catalog.manifests()
    every = {item.key: item.stored_bytes for one in manifests for item in one.objects()}
    assert renamed_nights.progress.bytes == sum(every.values())


def test_verify_all_newer_index_names_a_wrong_path_in_a_pack_is_damage(
    renamed_nights: BackupContext,
) -> None:
    newest = max(renamed_nights.catalog.manifests(), key=lambda manifest: manifest.id)
    forge(renamed_nights, newest, b'"member":"b/page"', b'"member":"b/pagf"')
    found = verify_all(renamed_nights, VerifyRequest(depth=CONTENT))
    assert kinds(found) == [*[[]] * (NIGHTS + 1), [UNREADABLE]]


@pytest.mark.parametrize("depth", [STORED, CONTENT])
def test_verify_all_damaged_shared_pack_is_reported_for_each_backup(
    nights: BackupContext, tmp_path: Path, depth: str
) -> None:
    key = harm(nights, tmp_path)
    newest = nights.catalog.entries()[0].id
    nights.store.delete(keys.manifest_key(newest))
    found = verify_all(nights, VerifyRequest(depth=depth))
    assert [[(item.damage.key, item.damage.kind) for item in one.findings] for one in found.results] == [
        [(key, ALTERED)]
    ] * (NIGHTS - 1)
    assert len(found.lost) == 1 and newest in found.lost[0]
    assert found.damaged and len(found.problems()) == NIGHTS


def test_reading_some_objects_neither_ends_damage_in_others_nor_claims_other_trees(
    nights: BackupContext, tmp_path: Path
) -> None:
    made = run_backup(nights, BackupRequest(trees=("sites", "uploads"), full=True)).manifest
    assert made
    sites, uploads = made.trees
    assert sites.index
    path = tmp_path / "storage/igny8" / sites.index.key
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))
    assert verify(nights, VerifyRequest(backup_id=made.id)).failure == "damage"
    some = VerifyRequest(backup_id=made.id, only=frozenset({uploads.packs[0].key}))
    found = verify(nights, some)
    assert found.failure == "damage" and [item.damage.key for item in found.findings] == [sites.index.key]
    path.write_bytes(good)
    assert not verify(nights, some).failure
    assert [part.name for part in verify(nights, some).check.parts or ()] == ["uploads"]


def forge(context: BackupContext, manifest: Manifest, old: bytes, new: bytes) -> None:
    """Replace the first match of ``old`` in the backup's index with ``new``."""
    (tree,) = manifest.trees
    assert tree.index
    data = b"".join(context.download(tree.index, []))
    wrong, changed = re.subn(old, new, data, count=1)
    assert changed and wrong != data
    context.store.delete(tree.index.key)
    made = context.upload(tree.index.key).send(from_bytes(wrong))
    context.store.delete(keys.run_key(manifest.id))
    forged = replace(manifest, trees=(replace(tree, index=made),))
    context.store.put_small(keys.manifest_key(manifest.id), records.to_json(forged))


def kinds(found: AllVerified) -> list[list[str]]:
    return [[item.damage.kind for item in result.findings] for result in found.results]


def test_verify_all_wrong_index_damages_only_its_backup(nights: BackupContext) -> None:
    """A wrong digest in the oldest backup's index says nothing about the pack in the other backups."""
    oldest = min(nights.catalog.manifests(), key=lambda manifest: manifest.id)
    forge(nights, oldest, rb'"[0-9a-f]{64}"', b'"' + b"0" * 64 + b'"')
    found = verify_all(nights, VerifyRequest(depth=CONTENT))
    assert kinds(found) == [[UNREADABLE], *[[]] * (NIGHTS - 1)]


@pytest.mark.parametrize(
    ("before", "old", "new"),
    [
        (rb'"path":"', b"b/page", b"b/pagf"),
        (rb'"path":"b/page"[^\n]*"sha256":"', b"[0-9a-f]{64}", b"0" * 64),
    ],
    ids=["path", "sha256"],
)
def test_verify_all_newer_index_contradicts_a_pack_is_damage(
    nights: BackupContext, before: bytes, old: bytes, new: bytes
) -> None:
    """The index differs for an unchanged file; by the indexes of the other backups the pack is good."""
    newer = sorted(nights.catalog.manifests(), key=lambda manifest: manifest.id)[-2]
    forge(nights, newer, b"(" + before + b")" + old + b'"', rb"\g<1>" + new + b'"')
    found = verify_all(nights, VerifyRequest(depth=CONTENT))
    assert kinds(found) == [*[[]] * (NIGHTS - 2), [UNREADABLE], []]
    (finding,) = found.results[-2].findings
    assert finding.damage.key == newer.trees[0].packs[0].key


def test_verify_damage_is_reported_until_it_is_repaired(
    nights: BackupContext, clock: Clock, tmp_path: Path
) -> None:
    """A sample without the damaged object must not look like a repair."""
    key = harm(nights, tmp_path)
    assert verify(nights, VerifyRequest()).findings
    for _ in range(10):
        clock.forward(days=1)
        (*_, newest) = verify_all(nights, VerifyRequest(sample=1)).results
        assert [item.damage.key for item in newest.findings] == [key]
    (check,) = read_annotations(nights.store)[newest.check.id].checks
    assert [damage.key for damage in check.damage] == [key]


def test_verify_all_sample_differs_each_day(nights: BackupContext, clock: Clock) -> None:
    read = set()
    for _ in range(20):
        clock.forward(days=1)
        assert isinstance(nights.progress, Read)
        nights.progress.bytes = 0
        assert verify_all(nights, VerifyRequest(sample=10)).complete
        read.add(nights.progress.bytes)
    assert len(read) > 3


def test_verify_all_no_backup_raises(context: BackupContext, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    with pytest.raises(UsageError, match="There is no backup"):
        verify_all(context, VerifyRequest())


def test_verify_all_identity_opens_one_of_two_backups(context: BackupContext, tmp_path: Path) -> None:
    for name in ("old", "new"):
        identity, recipient = generate_identity()
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(identity)
        encrypting = replace(context, codec=replace(context.codec, recipients=(recipient,)))
        run_backup(encrypting, BackupRequest(trees=("sites",)))
    found = verify_all(context, VerifyRequest(depth=CONTENT, identity_file=tmp_path / "old"))
    assert (len(found.results), len(found.unopened), found.damaged, found.complete) == (1, 1, False, False)
    assert [alarm.reason for alarm in found.alarms] == ["unopened"]
    assert "UNREAD: " in found.problems()[0]
    with pytest.raises(IdentityError, match="no identity is given"):
        verify_all(context, VerifyRequest(depth=CONTENT))
