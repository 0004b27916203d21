"""The scratch folder of a drill, in a folder that others use too; detecting whether a drill is under way."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.errors import LockedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.locks import no_drill_running
from igny8_backup.operations.drill.scratch import (
    drill_folder,
    exclusive_drill,
    killed_drills,
    remove_killed_drills,
)
from igny8_backup.operations.staging.scratch_folder import scratch_folder

STAMP, OTHER = "20261122T021500Z", "20261122T021501Z"


def left_behind(context: BackupContext, stamp: str) -> Path:
    """The folder of a drill that was killed."""
    with scratch_folder(drill_folder(context, stamp)) as folder:
        pass
    (folder / "uploads").mkdir(parents=True)
    return folder


def test_remove_killed_drills_spares_other_projects(context: BackupContext, tmp_path: Path) -> None:
    neighbour = replace(context, config=replace(context.config, state_dir=tmp_path / "another/state"))
    leftover = left_behind(neighbour, OTHER)
    with exclusive_drill(context), scratch_folder(drill_folder(context, STAMP)) as folder:
        remove_killed_drills(neighbour)
        assert folder.is_dir() and not leftover.exists()
        with exclusive_drill(neighbour):
            assert folder.is_dir()
        assert killed_drills(neighbour) == ()


def test_exclusive_drill_ignores_what_is_not_its_folder(context: BackupContext, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    leftover = left_behind(context, STAMP)
    start = str(leftover).removesuffix(STAMP)
    link, file, foreign = (Path(f"{start}20200101T00000{number}Z") for number in range(3))
    link.symlink_to(kept)
    file.touch()
    foreign.mkdir()
    if os.geteuid() == 0:  # only root can give a folder to another user
        os.chown(foreign, 54321, 54321)
    else:
        foreign.rmdir()
    with exclusive_drill(context):
        pass
    assert not leftover.exists() and killed_drills(context) == ()
    assert link.is_symlink() and kept.is_dir() and file.is_file()
    assert foreign.is_dir() == (os.geteuid() == 0)


def test_killed_drills_lists_leftovers_but_no_running_drill(context: BackupContext) -> None:
    with exclusive_drill(context), scratch_folder(drill_folder(context, STAMP)):
        assert killed_drills(context) == ()
    leftover = left_behind(context, STAMP)
    assert killed_drills(context) == (STAMP,)
    remove_killed_drills(context)
    assert killed_drills(context) == () and not leftover.exists()


def test_no_drill_running_does_not_fail_a_starting_drill(context: BackupContext) -> None:
    with exclusive_drill(context):
        pass
    (lock,) = (context.config.state_dir / "drill").glob("*.lock")
    lock.write_text("")

    def begin() -> bool:
        with exclusive_drill(context):
            return True

    with ThreadPoolExecutor(1) as pool:
        with no_drill_running(context) as first, no_drill_running(context) as second:
            assert first and second
            begun = pool.submit(begin)
            deadline = time.monotonic() + 60
            while not (lock.read_text() or begun.done()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert begun.result(60)


def test_exclusive_drill_locked_names_the_drill(context: BackupContext) -> None:
    locked = pytest.raises(
        LockedError, match=f"is using the drills from .*: process {os.getpid()}, a drill, since"
    )
    with exclusive_drill(context), locked, exclusive_drill(context):
        pytest.fail("two drills at once")
