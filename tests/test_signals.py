"""The signals of phases and reports."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from igny8_backup.signals import announced, phase_ended, phase_started

IDS = ("20261122T021500Z-7f3a9c",)


@pytest.fixture
def told() -> Iterator[list[tuple[str, Any]]]:
    """The signals that were sent, in order, with their arguments."""
    found: list[tuple[str, Any]] = []

    def begins(**facts: Any) -> None:
        found.append(("started", facts))

    def ends(**facts: Any) -> None:
        found.append(("ended", facts))

    phase_started.connect(begins)
    phase_ended.connect(ends)
    yield found
    phase_started.disconnect(begins)
    phase_ended.disconnect(ends)


def facts(told: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [
        (which, {key: value for key, value in one.items() if key not in ("signal", "sender")})
        for which, one in told
    ]


def test_announced_sends_signals_before_and_after(told: list[tuple[str, Any]]) -> None:
    common = {"operation": "restore", "phase": "swap", "backup_ids": IDS}
    with announced("restore", "swap", IDS):
        assert facts(told) == [("started", common)]
    assert facts(told)[1:] == [("ended", {**common, "error": ""})]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_announced_failure_is_named_and_raised(
    told: list[tuple[str, Any]], error: type[BaseException]
) -> None:
    with pytest.raises(error), announced("restore", "swap", IDS):
        raise error("a secret")
    assert told[-1][1]["error"] == error.__name__
    assert "a secret" not in str(told)


def test_announced_receiver_exception_is_logged_and_ignored(
    told: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("a receiver fails")

    phase_started.connect(broken)
    done = False
    try:
        with caplog.at_level(logging.ERROR, "django.dispatch"), announced("restore", "swap", IDS):
            done = True
    finally:
        phase_started.disconnect(broken)
    assert done and len(told) == 2
    assert "a receiver fails" in caplog.text
