"""Pauses in other threads that end early: ``Stop``."""

from __future__ import annotations

import threading
import time

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from igny8_backup.streams.side_by_side import Guard, run_side_by_side
from igny8_backup.streams.stop import Stop


def test_wait_ends_after_its_time_or_when_the_stop_is_set() -> None:
    stop = Stop()
    assert not stop.wait(0.01)
    threading.Timer(0.1, stop.set).start()
    assert stop.wait(60)
    assert stop.is_set() and stop.wait(0)


def test_stop_made_inside_a_call_is_set_with_the_outer_one() -> None:
    outer = Stop()
    inner = outer.call(lambda: Stop().call(Stop))
    apart = Stop()
    threading.Timer(0.1, outer.set).start()
    began = time.monotonic()
    assert inner.wait(60)
    assert time.monotonic() - began < 20
    assert not apart.is_set(), "it was made after the call"


def test_inner_stop_leaves_the_outer_one_unset() -> None:
    outer = Stop()
    inner = outer.call(Stop)
    inner.set()
    assert not outer.is_set()


def test_failure_sets_the_stop_and_success_does_not() -> None:
    stop = Stop()
    with stop.on_failure():
        pass
    assert not stop.is_set()
    with pytest.raises(KeyboardInterrupt), stop.on_failure():
        raise KeyboardInterrupt
    assert stop.is_set()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SoftTimeLimitExceeded])
def test_interrupt_is_raised_even_if_another_function_fails_while_it_is_handled(
    interrupt: type[BaseException],
) -> None:
    """In an outage, another upload can fail for good while the interrupted one cleans up."""
    failed = threading.Event()

    def interrupted(guard: Guard) -> None:
        try:
            raise interrupt
        finally:
            assert failed.wait(60)
            time.sleep(0.1)  # until the error is recorded

    def fails(guard: Guard) -> None:
        failed.set()
        raise ValueError

    with pytest.raises(interrupt):
        run_side_by_side([interrupted, fails], 2)
