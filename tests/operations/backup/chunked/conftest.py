"""Fixtures of the tests of dumps in chunks."""

from __future__ import annotations

import pytest

from igny8_backup.chunks import writer


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a dump of a few hundred kilobytes need several packs."""
    monkeypatch.setattr(writer, "PACK_BYTES", 100_000)
    monkeypatch.setattr(writer, "WINDOW", 50_000)
