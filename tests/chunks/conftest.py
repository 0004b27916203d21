"""Skip the tests that cut archives where the compiled cutter is not installed."""

from __future__ import annotations

import pytest

from igny8_backup.chunks.cutter import compiled_version


@pytest.fixture
def compiled() -> str:
    """The version of the compiled cutter."""
    if not (found := compiled_version()):
        pytest.skip("the compiled cutter of pyfastcdc is not installed")
    return found
