"""The limit of bytes per second: what passes, and how long it takes by a clock of the test."""

from __future__ import annotations

import inspect
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.streams import Blocks
from igny8_backup.streams.rate import UNLIMITED, RateLimit


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def limit(self, rate: int) -> RateLimit:
        return RateLimit(rate, clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
        self.slept += seconds


def stream(*sizes: int) -> Blocks:
    for size in sizes:
        yield bytes(size)


@given(
    streams=st.lists(st.lists(st.integers(1, 5000), max_size=8), min_size=1, max_size=3),
    rate=st.integers(1, 10_000),
)
def test_rate_holds_for_all_streams_together(streams: list[list[int]], rate: int) -> None:
    time = Time()
    limit = time.limit(rate)
    for sizes in streams:
        assert [len(block) for block in limit.pace(stream(*sizes))] == sizes
    assert time.slept == pytest.approx(sum(map(sum, streams)) / rate)


def test_rate_idle_time_is_not_made_up_for() -> None:
    time = Time()
    limit = time.limit(1000)
    list(limit.pace(stream(500)))
    time.now += 3600
    slept = time.slept
    list(limit.pace(stream(2000)))
    assert time.slept - slept == pytest.approx(2)


def test_rate_threads_share_the_limit() -> None:
    lock, waits = threading.Lock(), list[float]()

    def sleep(seconds: float) -> None:
        with lock:
            waits.append(seconds)

    limit = RateLimit(1000, clock=lambda: 0.0, sleep=sleep)
    threads = [threading.Thread(target=lambda: list(limit.pace(stream(500, 500)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([0.5 * number for number in range(1, 9)])


def test_rate_closes_its_source() -> None:
    source = stream(1, 2, 3)
    paced = UNLIMITED.pace(source)
    assert next(paced) == b"\0"
    paced.close()
    assert inspect.getgeneratorstate(source) == inspect.GEN_CLOSED
