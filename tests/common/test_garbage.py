"""The threshold of the garbage collector is raised for a while only."""

from __future__ import annotations

import gc

import pytest

from igny8_backup.common.garbage import NEW_OBJECTS, fewer_collections


@pytest.mark.parametrize(("before", "within"), [(700, NEW_OBJECTS), (0, 0), (10**6, 10**6)])
def test_threshold_is_raised_within_the_block_only(before: int, within: int) -> None:
    usual = gc.get_threshold()
    try:
        gc.set_threshold(before, 9, 8)
        with pytest.raises(KeyError), fewer_collections():
            assert gc.get_threshold() == (within, 9, 8)
            raise KeyError
        assert gc.get_threshold() == (before, 9, 8)
    finally:
        gc.set_threshold(*usual)
