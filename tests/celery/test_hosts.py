"""The answers of the workers of a fleet: their clocks are compared fairly, and odd answers do no harm."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from igny8_backup import __version__
from igny8_backup.celery.hosts import CLOCK_TOLERANCE, FleetWorkers, HostWorker, _read, ask_hosts
from igny8_backup.conf.model import FleetHost
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.fleet.hosts import _difference
from tests.operations.conftest import context, trees  # noqa: F401  (fixtures)

ASKED = datetime(2026, 11, 30, 1, 15, tzinfo=UTC)
QUEUES = {"backup-web-1": "web-1", "backup-web-2": "web-2"}


def answer(seconds: float, **changed: Any) -> dict[str, Any]:
    """Return the answer of a worker of web-1 whose clock shows so many seconds after the question."""
    time = (ASKED + timedelta(seconds=seconds)).isoformat()
    return {"host": "web-1", "version": "1.0", "time": time, "queues": ["backup-web-1"], **changed}


def ahead(seconds: float, *, took: float) -> float:
    ((_, worker),) = _read(answer(seconds), QUEUES, ASKED, ASKED + timedelta(seconds=took))
    return worker.ahead.total_seconds()


@pytest.mark.parametrize(
    ("seconds", "took", "expected"),
    [
        (0.01, 0.02, 0),
        (9, 10, 0),  # an answer that took long says little
        (0, 10, 0),
        (12, 10, 2),
        (90, 0.5, 89.5),
        (-3, 10, -3),
        (-3600, 0.01, -3600),
    ],
)
def test_clock_is_ahead_only_by_what_no_delay_explains(seconds: float, took: float, expected: float) -> None:
    assert ahead(seconds, took=took) == expected


def test_worker_of_several_queues_answers_for_each_of_these_hosts() -> None:
    both = answer(0, queues=["celery", *QUEUES])
    found = dict(_read(both, QUEUES, ASKED, ASKED))
    assert [*found] == ["web-1", "web-2"] and found["web-1"] == found["web-2"]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "pong",
        [],
        {"error": "KeyError('igny8_backup_host')"},
        answer(0, time="yesterday"),
        answer(0, time=None),
        answer(0, queues=None),
        answer(0, queues=["celery"]),
    ],
)
def test_answer_that_says_something_else_is_left_out(odd: Any) -> None:
    assert not list(_read(odd, QUEUES, ASKED, ASKED))


def test_problems_are_those_of_the_hosts_that_have_them() -> None:
    same = HostWorker(host="web-1", version=__version__, ahead=CLOCK_TOLERANCE)
    other = HostWorker(host="web-9", version="9.9", ahead=-timedelta(seconds=2.5))
    found = FleetWorkers(workers={"web-1": same, "web-2": other})
    assert [*found.misplaced()] == [*found.other_versions()] == [*found.other_clocks()] == [("web-2", other)]
    assert _difference(other) == "2 s behind"


def test_without_a_fleet_nobody_is_asked(context: BackupContext) -> None:  # noqa: F811 - a fixture
    assert not context.config.fleet and ask_hosts(context.config) == FleetWorkers()


def test_hosts_are_unasked_without_a_broker(context: BackupContext) -> None:  # noqa: F811 - a fixture
    config = replace(context.config, fleet={"web-1": FleetHost(queue="backup-web-1", sites=("sites",))})
    assert ask_hosts(config).unasked
