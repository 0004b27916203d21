"""SIGKILL at any moment of a backup: the next run goes on, every earlier backup restores."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.operations.assembly import Toolkit
from igny8_backup.operations.backup import BackupRequest, run_backup
from igny8_backup.operations.elsewhere import ElsewhereRequest, plan_elsewhere, run_elsewhere
from tests.services import unavailable
from tests.trees.tools import exit_of_child, in_child, rsync_differences

KILLS = 40
BOUNDARIES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "subprocess.Popen"}
"""What Python tells its audit hooks before it does it."""


class Boundaries:
    """Counts what a child does, and kills it at one of them."""

    def __init__(self, kill_at: int = 0) -> None:
        self.number = 0
        self._kill_at = kill_at
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: Any) -> None:
        if event in BOUNDARIES:
            self.number += 1
            if self.number == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def change(root: Path, luck: random.Random, number: int) -> None:
    """Something new, something changed, something gone."""
    (root / f"new-{number}").mkdir()
    (root / f"new-{number}" / "page").write_text(f"new {number}\n" * luck.randint(1, 5000))
    files = sorted(path for path in root.rglob("page") if path.is_file())
    luck.choice(files).write_text(f"changed {number}")
    if len(files) > 5:
        luck.choice(files).unlink()


@pytest.mark.parametrize("seed", [20261122])
def test_a_backup_that_is_killed_harms_no_other(
    kit: Toolkit, trees: tuple[Path, Path], tmp_path: Path, seed: int
) -> None:
    if not shutil.which("rsync"):
        unavailable("rsync is not installed.")
    sites, luck = trees[0], random.Random(seed)
    request = BackupRequest(trees=("sites",))
    kept: dict[str, Path] = {}

    def whole() -> None:
        found = run_backup(kit, request)
        assert found.whole
        kept[found.id] = tmp_path / "kept" / found.id
        subprocess.run(["cp", "-a", "--", sites, tmp_path / "copying"], check=True)
        kept[found.id].parent.mkdir(exist_ok=True)
        (tmp_path / "copying").rename(kept[found.id])

    def counted() -> int:
        boundaries = Boundaries()
        run_backup(kit, request)
        return boundaries.number

    def killed(at: int) -> int:
        def work() -> None:
            Boundaries(at)
            run_backup(kit, request)

        return exit_of_child(work)

    whole()
    most = in_child(counted)
    died = 0
    for number in range(KILLS):
        change(sites, luck, number)
        status = killed(luck.randint(1, most))
        assert status in (0, -signal.SIGKILL)
        died += status != 0
        if number % 5 == 4:
            whole()
    assert died > KILLS / 2
    for backup_id, copy in kept.items():
        place = tmp_path / "restored" / backup_id
        plan = plan_elsewhere(kit, ElsewhereRequest(backup_id=backup_id, to_dir=place, only="sites"))
        run_elsewhere(kit, plan)
        # The new folder itself is private, whatever the root was.
        differences = rsync_differences(copy, place / "sites").splitlines()
        assert [line for line in differences if not line.endswith(" ./")] == []
    assert all(manifest.complete for manifest in kit.catalog.manifests())
