"""Times that are ahead of the clock are not believed; a few minutes are the difference of two clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from igny8_backup.common.clock_skew import TOLERANCE, is_ahead
from igny8_backup.formats.documents.run_record import HEARTBEAT, RunRecord
from igny8_backup.formats.manifest import COMPLETE, RUNNING

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (timedelta(0), False),
        (-timedelta(days=9000), False),
        (TOLERANCE, False),
        (TOLERANCE + timedelta(seconds=1), True),
        (timedelta(days=9000), True),
    ],
)
def test_is_ahead_allows_for_the_difference_of_two_clocks(ahead: timedelta, expected: bool) -> None:
    assert is_ahead(NOW + ahead, NOW) is expected


@pytest.mark.parametrize(
    ("heartbeat", "alive"),
    [
        (timedelta(0), True),
        (TOLERANCE, True),
        (-4 * HEARTBEAT, True),
        (-5 * HEARTBEAT, False),
        (TOLERANCE + timedelta(seconds=1), False),
        (timedelta(days=9000), False),
    ],
)
def test_run_with_heartbeat_in_the_future_is_not_alive(heartbeat: timedelta, alive: bool) -> None:
    record = RunRecord(
        schema=1,
        id="20261122T000000Z-abcdef",
        host="web-1",
        environment="test",
        label="",
        requested=(),
        started=NOW,
        heartbeat=NOW + heartbeat,
        outcome=RUNNING,
    )
    assert record.is_alive(NOW) is alive
    assert not replace(record, outcome=COMPLETE).is_alive(NOW)
