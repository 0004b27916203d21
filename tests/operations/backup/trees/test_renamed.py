"""A renamed folder costs no stored bytes; every operation finds its files in the packs of earlier backups."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.formats.documents.annotations import CONTENT
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.planning.planner import plan_restore
from igny8_backup.operations.restore.run import RestoreSession
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify, verify_all
from igny8_backup.retention.rules import Policy
from tests.operations.clocks import Clock, by_clock
from tests.trees.tools import look

pytestmark = pytest.mark.slow

FILES = 20


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nights(context: BackupContext, clock: Clock) -> BackupContext:
    """A context whose tree has a folder of files that do not compress, and one backup."""
    root = context.config.sites["sites"]
    for number in range(FILES):
        (root / "a" / f"{number}").write_bytes(random.Random(number).randbytes(50_000))
    config = replace(context.config, retention=Policy(last=1))
    found = by_clock(replace(context, config=config), clock)
    night(found, clock)
    return found


def night(context: BackupContext, clock: Clock) -> TreePart:
    clock.forward(days=1)
    manifest = run_backup(context, BackupRequest(trees=("sites",))).manifest
    assert manifest
    return manifest.trees[0]


def test_renamed_folder_is_verified_extracted_restored_and_outlives_the_old_backup(
    nights: BackupContext, clock: Clock, tmp_path: Path
) -> None:
    root = nights.config.sites["sites"]
    (root / "a").rename(root / "d")
    (root / "copy").write_bytes((root / "d" / "7").read_bytes())
    part = night(nights, clock)
    old, new = part.packs  # the new one holds the files that are too small to be looked up
    assert old.raw_bytes > FILES * 50_000 > 1000 > new.stored_bytes
    assert verify_all(nights, VerifyRequest(depth=CONTENT)).complete

    paths = ("d/3", "copy")
    run_extract(
        nights, plan_extract(nights, ExtractRequest(only="sites", to_dir=tmp_path / "x", paths=paths))
    )
    found = {str(path.relative_to(tmp_path / "x/sites")) for path in (tmp_path / "x/sites").rglob("*")}
    assert found == {"d", *paths}
    assert (tmp_path / "x/sites/d/3").read_bytes() == (root / "d/3").read_bytes()

    before = look(root)
    assert len(prune(nights).removed) == 1, "the backup from before the renaming"
    shutil.rmtree(root / "d")
    RestoreSession(nights).execute(plan_restore(nights, RestoreRequest(only="sites")))
    assert {path: facts for path, facts in look(root).items() if not path.startswith(b".before")} == before
    assert not verify(nights, VerifyRequest(depth=CONTENT)).failure


def test_pack_with_few_renamed_files_left_is_rewritten(nights: BackupContext, clock: Clock) -> None:
    root = nights.config.sites["sites"]
    (root / "a").rename(root / "d")
    first = night(nights, clock)
    for number in range(2, FILES):
        (root / "d" / f"{number}").write_bytes(random.Random(100 + number).randbytes(50_000))
    (root / "d" / "0").rename(root / "e")
    second = night(nights, clock)
    assert first.packs[0].key in {pack.key for pack in second.packs}
    third = night(nights, clock)
    assert first.packs[0].key not in {pack.key for pack in third.packs}
    before = look(root)
    prune(nights)
    shutil.rmtree(root / "d")
    RestoreSession(nights).execute(plan_restore(nights, RestoreRequest(only="sites")))
    assert {path: facts for path, facts in look(root).items() if not path.startswith(b".before")} == before


def test_pack_without_a_renamed_file_is_damaged(nights: BackupContext, clock: Clock, tmp_path: Path) -> None:
    """A check of the contents looks for the file under the name that it has in the pack."""
    root = nights.config.sites["sites"]
    (root / "a").rename(root / "d")
    part = night(nights, clock)
    stored = tmp_path / "storage/igny8" / part.packs[0].key
    stored.write_bytes(b"x" * part.packs[0].stored_bytes)
    assert verify(nights, VerifyRequest(depth=CONTENT)).failure == "damage"
    again = night(nights, clock)
    assert part.packs[0].key not in {pack.key for pack in again.packs}, "damaged packs are not referred to"
    assert not verify(nights, VerifyRequest(depth=CONTENT)).failure
