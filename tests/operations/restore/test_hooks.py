"""Hooks run around a restore in order, receive the phase, and stop the restore when they fail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import assert_shown
from tests.management.commands import Command, run_many
from tests.management.state import differences, leftovers, of_project
from tests.operations.conftest import Saved

SAYS = 'echo "$1 $IGNY8_BACKUP_PHASE $IGNY8_BACKUP_IDS" >> "$0"'
FAILS = 'echo "on stdout"; echo "the last words" >&2; exit 7'
DOCKER = "docker failed with exit status 1: no such service: beat"


def says(log: Path, word: str) -> list[str]:
    return ["sh", "-c", SAYS, str(log), word]


def flipped(storage: Path, copy: Path, pack: str) -> Path:
    """A copy of the storage in which one byte of a pack is changed."""
    for path in storage.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(storage)
            target.parent.mkdir(parents=True, exist_ok=True)
            data = bytearray(path.read_bytes())
            if f"packs/web-1/{pack}/" in str(path):
                data[len(data) // 2] ^= 1
            target.write_bytes(data)
    return copy


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a log, with blanks; and $signs"


def test_hooks_run_around_a_restore_and_stop_it_when_they_fail(saved: Saved, log: Path) -> None:
    project = saved.project
    before = of_project(project)
    restore: list[str | Path] = [
        "restore_all",
        saved.id,
        "--noinput",
        "--only",
        "uploads",
        "--identity",
        project.identity,
    ]
    failing: dict[str, Any] = {
        "BEFORE_RESTORE": [says(log, "one"), ["sh", "-c", FAILS, "--password=secret"], says(log, "three")],
        "AFTER_RESTORE": [says(log, "after")],
    }
    missing = {"BEFORE_RESTORE": [["no-such-program"]]}
    asked: list[str | Path] = ["restore_all", *restore[3:], "--purge-queue"]
    unanswered, stopped, absent, looked = run_many(
        project,
        asked,
        Command(restore, failing),
        Command(restore, missing),
        Command([*restore, "--dry-run"], failing),
    )
    assert "tasks that wait in the broker needs a confirmation" in unanswered.ended(2).stderr
    assert "The hook BEFORE_RESTORE[1] (sh) failed: sh failed with exit status 7" in stopped.ended(1).stderr
    assert "the last words" in stopped.stderr and "Nothing was changed." in stopped.stderr
    assert "secret" not in stopped.output
    shown = stopped.stderr.replace("(sh)", "(docker)")
    assert_shown(re.sub("sh failed with .*\nthe last words", DOCKER, shown))
    assert "no-such-program is not installed" in absent.ended(1).stderr
    looked.ended(0)
    assert log.read_text() == f"one before_restore {saved.id}\n"
    assert leftovers(project) == [] and differences(before, of_project(project)) == []

    # A failure after the hooks says that they have run, because what they stopped is still stopped.
    log.unlink()
    broken = flipped(project.storage, log.parent / "flipped", "uploads")
    hooks = {"BEFORE_RESTORE": [says(log, "stop")], "AFTER_RESTORE": [says(log, "start")]}
    (damaged,) = run_many(project, Command(restore, hooks, storage=broken))
    assert "BEFORE_RESTORE was run and nothing live was changed. Start again" in damaged.ended(6).stderr
    assert log.read_text() == f"stop before_restore {saved.id}\n"
    assert leftovers(project) == []

    log.unlink()
    hooks["AFTER_RESTORE"] = [["sh", "-c", FAILS], says(log, "start")]
    (done,) = run_many(project, Command([*restore, "--purge-queue", "--json"], hooks))
    unpurged, warning = done.ended(3).json["warnings"]
    assert unpurged.startswith("No queue was purged: the broker is in memory")
    assert "The hook AFTER_RESTORE[0] (sh) failed" in warning and "Everything is restored." in warning
    assert log.read_text() == f"stop before_restore {saved.id}\nstart after_restore {saved.id}\n"

    # An undo replaces live data too.
    log.unlink()
    restored = of_project(project)
    (stopped,) = run_many(project, Command(["undo_restore"], failing))
    assert "The hook BEFORE_RESTORE[1] (sh) failed" in stopped.ended(1).stderr
    assert differences(restored, of_project(project)) == []
    log.unlink()
    undone, discarded = run_many(
        project, Command(["undo_restore"], hooks), ["undo_restore", "--discard", "--noinput"]
    )
    assert "WARNING: The hook AFTER_RESTORE[0] (sh) failed" in undone.ended(3).stderr
    assert log.read_text() == f"stop before_restore {saved.id}\nstart after_restore {saved.id}\n"
    discarded.ended(0)


def test_restore_stopped_after_the_swap_is_reported_as_incomplete(
    saved: Saved,
) -> None:
    restore: list[str | Path] = ["restore_all", saved.id, "--noinput", "--only", "uploads"]
    stopping = {"AFTER_RESTORE": [["sh", "-c", "kill -TERM $PPID; exec sleep 60"]]}
    stopped, undone, discarded = run_many(
        saved.project,
        Command([*restore, "--identity", saved.project.identity], stopping),
        ["undo_restore"],
        ["undo_restore", "--discard", "--noinput"],
    )
    assert "The command was stopped after everything was restored" in stopped.ended(3).stderr
    assert "cleaned up" not in stopped.output
    undone.ended(0)
    discarded.ended(0)


def test_hook_that_hangs_is_reported_and_not_killed(saved: Saved) -> None:
    restore: list[str | Path] = ["restore_all", saved.id, "--noinput", "--only", "uploads"]
    slow = {"BEFORE_RESTORE": [["sh", "-c", "sleep 1.5; exit 3"]], "STALL_SECONDS": 1}
    (stopped,) = run_many(saved.project, Command([*restore, "--identity", saved.project.identity], slow))
    message = "BEFORE_RESTORE[0] (sh): nothing has moved for 1 second, waiting for the hook. The run goes on."
    assert message in stopped.ended(1).stderr
    assert "failed with exit status 3" in stopped.stderr


def test_program_of_a_last_hook_that_does_not_exist_is_found_in_the_plan(saved: Saved) -> None:
    dry_run = [*saved.restore, "--only", "uploads", "--dry-run"]
    (refused,) = run_many(saved.project, Command(dry_run, {"AFTER_RESTORE": [["true"], ["no-such-program"]]}))
    assert "AFTER_RESTORE[1] does not exist or cannot be run: no-such-program" in refused.ended(4).stderr
