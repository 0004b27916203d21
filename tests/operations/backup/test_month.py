"""A month of nights, with failures, pins, prunings, lost state: what the plan keeps comes back whole."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

from igny8_backup.formats.annotations import CONTENT
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import Toolkit
from igny8_backup.operations.maintain.orphans import find_litter
from igny8_backup.operations.maintain.pin import pin, unpin
from igny8_backup.operations.maintain.prune import prune
from igny8_backup.operations.verify.run import verify
from igny8_backup.operations.verify.verifier import VerifyRequest
from igny8_backup.retention import Policy
from tests.operations.clocks import Clock, by_clock

POLICY = Policy(last=2, daily=5, weekly=3)


def test_after_a_month_every_backup_that_was_kept_can_be_read(
    kit: Toolkit, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    chance, clock = random.Random(1), Clock()
    kit = by_clock(replace(kit, config=replace(kit.config, retention=POLICY)), clock)
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
            made.append(run_backup(kit, BackupRequest(trees=parts)).id)
        if away:
            (tmp_path / "away").rename(uploads)
        if made and chance.random() < 0.2:
            pin(kit, made[-1], "for a reason")
            pinned.add(made[-1])
        elif len(pinned) > 2:
            unpin(kit, chosen := chance.choice(sorted(pinned)))
            pinned.remove(chosen)
        planned = prune(kit, dry_run=True).plan
        result = prune(kit)
        assert {item.id for item in kit.catalog.entries()} == {v.id for v in planned.verdicts if v.keep}
        blocked, removed = blocked + len(result.plan.blocked), removed + len(result.removed)
        swept += len(result.swept)
    assert blocked and removed and swept and pinned, "the month had some of everything"
    kept = kit.catalog.entries()
    assert pinned <= {entry.id for entry in kept} and 5 <= len(kept) < len(made)
    for entry in kept:
        check = verify(kit, VerifyRequest(backup_id=entry.id, depth=CONTENT)).check
        assert not check.damage and check.read == check.objects
    clock.forward(days=1)
    prune(kit)
    assert not find_litter(kit).litter
