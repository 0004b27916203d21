"""A tree that is on another file system than in its last backup is named."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import pytest

from igny8_backup.operations.backup.trees import mounts
from igny8_backup.operations.context import BackupContext
from tests.operations.backup.trees.test_excludes import backed_up
from tests.operations.conftest import Notes
from tests.services import unavailable

pytestmark = pytest.mark.slow


@contextmanager
def mounted(source: Path, folder: Path) -> Iterator[None]:
    """Mount ``source`` on ``folder``, so that the files of ``folder`` are hidden."""
    mount = ["mount", "--bind", str(source), str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        unavailable("Mounting a folder takes root and the right to mount.")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def noted(context: BackupContext) -> list[str]:
    texts = cast(Notes, context.progress).texts
    found = [text for text in texts if "another file system" in text or "other file systems" in text]
    texts.clear()
    return found


def test_tree_whose_mounts_changed_since_the_last_backup_is_named(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "a").mkdir(parents=True)
    (other / "page").write_text("other")
    backed_up(context)
    with mounted(other, trees[0] / "b"):
        backed_up(context)
        (text,) = noted(context)
        assert text.startswith("WARNING: sites: the folder b is on another file system than in the last")
        assert "before: nothing was mounted there" in text
        backed_up(context)
        assert noted(context) == []
    backed_up(context)
    (text,) = noted(context)
    assert "the folder b" in text and "nothing is mounted there; before: " in text
    with mounted(other, trees[0]):
        backed_up(context)
        (text,) = noted(context)
        assert "sites: the root is on another file system" in text and f"on {trees[0]}; before: " in text


def test_many_changed_mounts_are_counted_and_unreadable_memory_is_ignored(
    context: BackupContext, trees: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    folders = [trees[0] / f"{number:02}" for number in range(mounts.NAMED + 2)]
    for folder in folders:
        folder.mkdir()
    backed_up(context)
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(mounted(tmp_path / "other", folder))
        backed_up(context)
        *named, more = [text for text in noted(context) if "sites" in text]
        assert len(named) == mounts.NAMED
        assert "sites: 2 further folders are on other file systems" in more
        for file in (context.config.state_dir / "mounts").rglob("*.json"):
            file.write_text("[")
        backed_up(context)
        assert noted(context) == []
