"""Fixtures for tests of trees: a check for open descriptors, and a folder of another user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from igny8_backup.streams import BLOCK
from igny8_backup.trees.fs.remove import remove_tree
from tests.descriptors import descriptors, descriptors_left
from tests.trees.tools import NOBODY


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    before = descriptors()
    yield
    left = descriptors_left(before)
    assert not left, f"descriptors left open: {sorted(left)}"


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder of user nobody if root runs the tests; the folders of pytest are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="igny8-backup-tests-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    remove_tree(folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with small and large files, odd names, a symlink and a FIFO."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_bytes(b"alpha")
    (root / "sub" / ("n" * 120)).touch()
    (root / "sub" / "large").write_bytes(os.urandom(3 * BLOCK))
    Path(os.fsdecode(os.fsencode(root) + b"/odd \xff\n")).write_bytes(b"odd")
    os.symlink(b"a", root / "link")
    os.mkfifo(root / "fifo")
    return root
