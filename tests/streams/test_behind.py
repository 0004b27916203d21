"""Functions that are called in other threads, while the caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from igny8_backup.streams.behind import Behind


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_functions_are_called_once_in_other_threads_and_not_too_many_at_once(threads: int) -> None:
    called: list[tuple[int, int]] = []
    at_work = threading.Semaphore(threads)

    def function(number: int) -> Callable[[], object]:
        def call() -> None:
            assert at_work.acquire(blocking=False), "too many functions are at work"
            called.append((number, threading.get_ident()))
            at_work.release()

        return call

    with Behind(threads) as behind:
        for number in range(20):
            behind.call(function(number))
    assert sorted(number for number, _ in called) == list(range(20))
    assert threads > 1 or [number for number, _ in called] == list(range(20))
    assert threading.get_ident() not in {thread for _, thread in called}


def test_function_begins_only_when_the_one_that_began_first_has_ended() -> None:
    """So the caller may use the memory of the first one again."""
    released, ended = threading.Event(), threading.Event()

    def slow() -> None:
        assert released.wait(60)
        ended.set()

    with Behind(2) as behind:
        behind.call(slow)
        behind.call(lambda: None)
        threading.Timer(0.1, released.set).start()
        behind.call(lambda: None)
        assert ended.is_set()


def test_caller_goes_on_while_the_function_is_at_work() -> None:
    waiting, released = threading.Event(), threading.Event()

    def function() -> None:
        waiting.set()
        assert released.wait(60)

    with Behind(1) as behind:
        behind.call(function)
        assert waiting.wait(60)
        released.set()


def test_error_is_raised_by_a_later_call_and_nothing_more_is_called() -> None:
    called = []

    def fail() -> None:
        raise ValueError("a test")

    with pytest.raises(ValueError, match="a test"), Behind(1) as behind:
        behind.call(fail)
        behind.call(lambda: called.append(1))
    assert not called


def test_error_of_the_last_function_is_raised_at_the_end() -> None:
    def fail() -> None:
        raise ValueError("a test")

    with pytest.raises(ValueError, match="a test"), Behind(1) as behind:
        behind.call(fail)


def test_error_of_the_block_waits_for_the_function_and_is_the_one_that_is_raised() -> None:
    released, ended = threading.Event(), []

    def function() -> None:
        assert released.wait(60)
        ended.append(1)
        raise ValueError("of the function")

    with pytest.raises(KeyError), Behind(1) as behind:
        behind.call(function)
        released.set()
        raise KeyError("of the block")
    assert ended
