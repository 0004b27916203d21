"""SIGKILL at any moment of a backup: the next run works, every earlier backup restores.

Killed are the run, the process beside it that reads the tree, both, or the one that walks ahead of that.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import BackupError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from tests.services import unavailable
from tests.trees.tools import exit_of_child, in_child, rsync_differences

pytestmark = pytest.mark.slow

ROUNDS, SAMPLED_ROUNDS = 45, 20
KILLED = -signal.SIGKILL
BOUNDARIES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "subprocess.Popen"}
"""Events that Python reports to audit hooks before they happen."""
REQUEST = BackupRequest(trees=("sites",))


class Boundaries:
    """Counts the events of this process, and kills it at one of them."""

    def __init__(self, kill_at: int = 0) -> None:
        self.number = 0
        self._kill_at = kill_at
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: Any) -> None:
        if event in BOUNDARIES:
            self.number += 1
            if self.number == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


class Reader:
    """The archive worker, and when it dies: see ``killing/sitecustomize.py``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        shutil.copy(Path(__file__).with_name("killing") / "sitecustomize.py", folder)

    def counted(self) -> int:
        """How many moments it had in a run that was not killed."""
        return int((self._folder / "counted").read_text())

    def dies(self, victim: str, moment: int) -> None:
        (self._folder / "moment").write_text(json.dumps([victim, moment]))

    def take_over(self) -> None:
        """Have this process start such workers from now on."""
        sys.path.insert(0, str(self._folder))


def change(root: Path, luck: random.Random, number: int) -> None:
    """Add a file, change one and delete one."""
    (root / f"new-{number}").mkdir()
    (root / f"new-{number}" / "page").write_text(f"new {number}\n" * luck.randint(1, 5000))
    files = sorted(path for path in root.rglob("page") if path.is_file())
    luck.choice(files).write_text(f"changed {number}")
    if len(files) > 5:
        luck.choice(files).unlink()


class Nights:
    """A tree that is backed up again and again, and a copy of it for each backup."""

    def __init__(self, context: BackupContext, folder: Path) -> None:
        self.context = context
        self.root = context.config.sites["sites"]
        self.message = folder / "message"
        self.reader = Reader(folder / "reader")
        self._folder = folder
        (folder / "copies").mkdir()

    def complete_backup(self) -> None:
        """Make a backup that is not killed."""
        assert run_backup(self.context, REQUEST).whole
        self.take_copies()

    def count(self) -> int:
        """How many moments a backup has; the worker writes its own count to a file."""

        def counted() -> int:
            self.reader.take_over()
            boundaries = Boundaries()
            run_backup(self.context, REQUEST)
            return boundaries.number

        most = in_child(counted)
        self.take_copies()
        return most

    def killed(self, at: int = 0) -> int:
        """Make a backup in a process that dies at this moment; return how the process ended."""

        def work() -> None:
            self.reader.take_over()
            Boundaries(at)
            try:
                run_backup(self.context, REQUEST)
            except BackupError as error:
                self.message.write_text(f"{error.exit_status}: {error}")
                raise

        status = exit_of_child(work)
        self.take_copies()
        return status

    def take_copies(self) -> None:
        """Copy the tree for each new backup: everything with a manifest must restore."""
        for entry in self.context.catalog.entries():
            if not self.copy(entry.id).exists():
                subprocess.run(["cp", "-a", "--", self.root, self.copy(entry.id)], check=True)

    def copy(self, backup_id: str) -> Path:
        return self._folder / "copies" / backup_id

    def assert_restore(self) -> None:
        for manifest in self.context.catalog.manifests():
            assert manifest.complete
            place = self._folder / "restored" / manifest.id
            plan = plan_extract(
                self.context, ExtractRequest(backup_id=manifest.id, to_dir=place, only="sites")
            )
            run_extract(self.context, plan)
            # The restored root is private, whatever the mode of the original was.
            differences = rsync_differences(self.copy(manifest.id), place / "sites").splitlines()
            assert [line for line in differences if not line.endswith(" ./")] == []


@pytest.fixture
def nights(context: BackupContext, tmp_path: Path) -> Nights:
    if not shutil.which("rsync"):
        unavailable("rsync is not installed.")
    return Nights(context, tmp_path)


@pytest.mark.parametrize("seed", [20261122])
def test_backup_killed_leaves_other_backups_intact(nights: Nights, seed: int, exhaustive: bool) -> None:
    rounds = ROUNDS if exhaustive else SAMPLED_ROUNDS
    luck = random.Random(seed)
    nights.complete_backup()
    most = nights.count()
    died = {"run": 0, "reader": 0, "both": 0, "walker": 0}
    who = {
        "reader": "The worker process trees.archive.worker failed: ",
        "walker": f"The scanner process for {nights.root} ended before it was done (exit status -9).",
    }
    for number in range(rounds):
        change(nights.root, luck, number)
        victim = list(died)[number % 4]
        if victim == "run":
            nights.reader.dies("nobody", 0)
            status = nights.killed(luck.randint(1, most))
        else:
            most_of_it = nights.reader.counted() if victim != "walker" else len(list(nights.root.rglob("*/")))
            nights.reader.dies(victim, luck.randint(1, most_of_it + 2))  # a night may open two files more
            before = len(nights.context.catalog.entries())
            status = nights.killed()
            if victim in who and status:
                assert status == 1 and len(nights.context.catalog.entries()) == before
                message = nights.message.read_text()
                assert who[victim] in message
                assert victim == "walker" or "was killed by SIGKILL" in message
        assert status in (0, 1 if victim in who else KILLED)
        died[victim] += status != 0
        if number % 5 == 4:
            nights.complete_backup()
    assert min(died.values()) > rounds / 8, died
    nights.assert_restore()
