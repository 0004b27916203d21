"""The condition ``full``: full dumps in chunks that are made too often, or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from igny8_backup.formats import keys
from igny8_backup.formats.chunked import FULL, INCREMENTAL, ChunkedDump
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.monitor.health import PartCopy
from igny8_backup.operations.monitor.part_conditions import full_dump_conditions
from igny8_backup.retention.policy import Part

NOW = datetime(2026, 9, 22, 12, tzinfo=UTC)
PART = Part(host="web-1", kind="database", name="default")


def copy(days: float, full_days: float | None = None, reason: str = "") -> PartCopy:
    """Return a dump of so many days ago, based on a full one of ``full_days`` ago; by default on itself."""
    started = NOW - timedelta(days=days)
    full = NOW - timedelta(days=days if full_days is None else full_days)
    backup_id = keys.make_id(started, "abcdef")
    chunked = ChunkedDump(
        kind=FULL if started == full else INCREMENTAL,
        bytes=1,
        archive_sha256="0" * 64,
        full_id=backup_id,
        full_started=full,
        reason=reason,
    )
    return PartCopy(PART, backup_id, started, 1, False, chunked=chunked)


WHOLE = replace(copy(0), chunked=None)
LOST = "this host has no map of its chunks"


@pytest.mark.parametrize(
    ("copies", "failed"),
    [
        ([copy(0, 1), copy(1)], ""),
        ([copy(0, 6, ""), copy(6, reason=LOST), copy(8, reason=LOST)], ""),
        ([copy(0, reason=LOST), copy(3, reason=LOST)], f"because {LOST}. Each stores the whole database."),
        ([copy(0, 9), copy(9)], "a full one from 9 days before, although FULL_EVERY is 7 days"),
    ],
)
def test_full_dumps_too_often_or_too_seldom_are_reported(
    context: BackupContext, copies: list[PartCopy], failed: str
) -> None:
    (found,) = full_dump_conditions(copies, NOW, context.config)
    assert (found.name, found.ok) == ("full", not failed)
    assert failed in found.text
    assert list(full_dump_conditions([WHOLE], NOW, context.config)) == []
