"""What every test of trees is held to, and a folder that others may enter."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from igny8_backup.trees.fs.remove import remove_tree
from tests.trees.tools import NOBODY, descriptors


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """No test leaves a descriptor open."""
    before = descriptors()
    yield
    assert descriptors() <= before  # what an earlier test's process left may be closed meanwhile


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder of the user nobody when root runs the tests; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="igny8-backup-tests-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    remove_tree(folder)
