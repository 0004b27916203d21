"""Space is reserved for a moment, where a file system can, and nothing stays."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from igny8_backup.trees.fs.reserve import refused_reservations
from tests.services.disk import limited_subvolume, small_disk


def test_reservation_that_fits_is_not_refused_and_leaves_nothing(tmp_path: Path) -> None:
    assert refused_reservations([(tmp_path, 5 << 20), (tmp_path, 0), (tmp_path / "missing", 1)]) == [None] * 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.services
def test_reservations_are_held_together_until_the_last_was_tried(tmp_path: Path) -> None:
    with limited_subvolume(tmp_path / "disk", 10 << 20) as disk:
        first, second = refused_reservations([(disk, 6 << 20), (disk, 6 << 20)])
        assert first is None and second is not None and second.errno == errno.EDQUOT
        assert refused_reservations([(disk, 6 << 20)]) == [None]


@pytest.mark.services
def test_memory_is_not_reserved(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        assert refused_reservations([(disk, 1 << 40)]) == [None]
