"""A month of backups with failures, pins, prunings and lost state: every kept backup is complete."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.formats.documents.annotations import CONTENT
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from igny8_backup.retention.rules import Policy
from tests.operations.clocks import Clock, by_clock

pytestmark = pytest.mark.slow

POLICY = Policy(last=2, daily=5, weekly=3)


def test_backup_and_prune_for_a_month_kept_backups_are_readable(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    chance, clock = random.Random(1), Clock()
    context = by_clock(replace(context, config=replace(context.config, retention=POLICY)), clock)
    sites, uploads = trees
    pinned: set[str] = set()
    made: list[str] = []
    blocked = removed = swept = 0
    for night in range(30):
        clock.forward(days=1)
        for number in range(chance.randrange(4)):
            (sites / f"page {chance.randrange(8)}").write_text(
                f"{night} {number} " * chance.randrange(1, 900)
            )
        if chance.random() < 0.2:
            shutil.rmtree(tmp_path / "state", ignore_errors=True)  # a container without a volume
        away = chance.random() < 0.2
        if away:
            uploads.rename(tmp_path / "away")
        parts = chance.choice([("sites", "uploads"), ("sites", "uploads"), ("uploads",)])
        if not (away and parts == ("uploads",)):
            made.append(run_backup(context, BackupRequest(trees=parts)).id)
        if away:
            (tmp_path / "away").rename(uploads)
        if made and chance.random() < 0.2:
            pin(context, made[-1], "for a reason")
            pinned.add(made[-1])
        elif len(pinned) > 2:
            unpin(context, chosen := chance.choice(sorted(pinned)))
            pinned.remove(chosen)
        planned = prune(context, dry_run=True).plan
        result = prune(context)
        assert {item.id for item in context.catalog.entries()} == {v.id for v in planned.verdicts if v.keep}
        blocked, removed = blocked + len(result.plan.blocked), removed + len(result.removed)
        swept += len(result.swept)
    assert blocked and removed and swept and pinned, "the month had every kind of event"
    kept = context.catalog.entries()
    assert pinned <= {entry.id for entry in kept} and 5 <= len(kept) < len(made)
    for entry in kept:
        check = verify(context, VerifyRequest(backup_id=entry.id, depth=CONTENT)).check
        assert not check.damage and check.read == check.objects
    clock.forward(days=1)
    prune(context)
    assert not find_orphans(context).orphans
