"""The folder of a drill in a scratch that others use too, and looks at whether a drill goes on."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.errors import LockedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.locks import look
from igny8_backup.operations.drill.scratch import drill_alone, killed_drills, scratch_folder, tidy

STAMP, OTHER = "20261122T021500Z", "20261122T021501Z"


def left_behind(context: BackupContext, stamp: str) -> Path:
    """The folder of a drill that was killed."""
    with scratch_folder(context, stamp) as folder:
        pass
    (folder / "uploads").mkdir(parents=True)
    return folder


def test_another_project_leaves_a_drill_alone(context: BackupContext, tmp_path: Path) -> None:
    neighbour = replace(context, config=replace(context.config, state_dir=tmp_path / "another/state"))
    its_own = left_behind(neighbour, OTHER)
    with drill_alone(context), scratch_folder(context, STAMP) as folder:
        tidy(neighbour)
        assert folder.is_dir() and not its_own.exists()
        with drill_alone(neighbour):
            assert folder.is_dir()
        assert killed_drills(neighbour) == ()


def test_what_is_no_folder_of_ours_stands_in_no_way(context: BackupContext, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    left = left_behind(context, STAMP)
    start = str(left).removesuffix(STAMP)
    link, file, foreign = (Path(f"{start}20200101T00000{number}Z") for number in range(3))
    link.symlink_to(kept)
    file.touch()
    foreign.mkdir()
    if os.geteuid() == 0:  # nobody else may give a folder away
        os.chown(foreign, 54321, 54321)
    else:
        foreign.rmdir()
    with drill_alone(context):
        pass
    assert not left.exists() and killed_drills(context) == ()
    assert link.is_symlink() and kept.is_dir() and file.is_file()
    assert foreign.is_dir() == (os.geteuid() == 0)


def test_a_look_sees_what_was_left_and_no_living_drill(context: BackupContext) -> None:
    with drill_alone(context), scratch_folder(context, STAMP):
        assert killed_drills(context) == ()
    left = left_behind(context, STAMP)
    assert killed_drills(context) == (STAMP,)
    tidy(context)
    assert killed_drills(context) == () and not left.exists()


def test_a_look_keeps_no_drill_from_beginning(context: BackupContext) -> None:
    with drill_alone(context):
        pass
    (lock,) = (context.config.state_dir / "drill").glob("*.lock")
    lock.write_text("")

    def begin() -> bool:
        with drill_alone(context):
            return True

    with ThreadPoolExecutor(1) as pool:
        with look(context) as free, look(context) as as_well:
            assert free and as_well
            begun = pool.submit(begin)
            deadline = time.monotonic() + 60
            while not (lock.read_text() or begun.done()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert begun.result(60)


def test_who_is_kept_out_is_told_of_a_drill(context: BackupContext) -> None:
    told = pytest.raises(
        LockedError, match=f"works on the drills from .*: process {os.getpid()}, a drill, since"
    )
    with drill_alone(context), told, drill_alone(context):
        pytest.fail("two drills at once")
