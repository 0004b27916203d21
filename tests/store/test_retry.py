"""The patience with a storage: what is repeated, how often, for how long, and what is said about it."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from igny8_backup.errors import StorageError
from igny8_backup.store import Retry, UnreachableError
from igny8_backup.store.retry import BRIEF_SECONDS
from igny8_backup.streams import Blocks
from igny8_backup.streams.behind import Behind
from igny8_backup.streams.side_by_side import run_side_by_side
from igny8_backup.streams.stop import Stop


class Flaky:
    """A request that fails a number of times before it succeeds."""

    def __init__(self, failures: int, error: Callable[[], Exception] | None = None) -> None:
        self.left = failures
        self.calls = 0
        self.error = error or (lambda: UnreachableError("Cannot list the shelf: 503 SlowDown.", hint="Wait."))

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error()
        return "done"


def retry(seconds: float, notes: list[str] | None = None) -> Retry:
    return Retry(seconds, first_pause=0.001, report=(notes if notes is not None else []).append)


def test_call_that_fails_for_a_while_succeeds_and_is_reported_once() -> None:
    notes: list[str] = []
    request = Flaky(5)
    assert retry(300, notes).call(request) == "done"
    assert request.calls == 6
    assert notes == [
        "Cannot list the shelf: 503 SlowDown. Retrying for up to 5 minutes.",
        "The storage answers again after 1 second.",
    ]


def test_call_that_fails_once_is_repeated_silently() -> None:
    notes: list[str] = []
    assert retry(300, notes).call(Flaky(1)) == "done"
    assert notes == []


def test_call_leaves_the_random_numbers_of_the_application_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The functions of the module share one generator, which an application may have seeded."""
    for name in ("random", "uniform", "randrange"):
        monkeypatch.delattr(random, name)
    assert retry(300).call(Flaky(3)) == "done"


def test_call_error_that_will_not_pass_is_raised_at_once() -> None:
    request = Flaky(1, lambda: StorageError("no such bucket"))
    with pytest.raises(StorageError, match="no such bucket"):
        retry(300).call(request)
    assert request.calls == 1


def test_call_without_patience_makes_one_attempt() -> None:
    request = Flaky(1)
    with pytest.raises(UnreachableError) as caught:
        Retry().call(request)
    assert request.calls == 1
    assert caught.value.args == ("Cannot list the shelf: 503 SlowDown.", "", "Wait.")


def test_call_at_the_end_of_patience_says_how_often_it_tried() -> None:
    with pytest.raises(UnreachableError, match=r"SlowDown\. All \d+ attempts within 1 second failed\. Wait"):
        retry(0.05).call(Flaky(10**9))


def test_nested_call_is_not_repeated_by_the_outer_one() -> None:
    patience = retry(0.05)
    request = Flaky(10**9)
    outer: list[int] = []

    def nested() -> str:
        outer.append(1)
        return patience.call(request)

    with pytest.raises(UnreachableError):
        patience.call(nested)
    assert len(outer) == 1


def test_later_calls_have_a_tenth_of_the_patience_and_then_none() -> None:
    patience = retry(1)
    patience.give_up(1)
    assert patience.allowance() == pytest.approx(0.1)
    patience.give_up(2)
    assert patience.allowance() == 0


def test_strict_calls_are_refused_once_patience_is_used_up() -> None:
    patience = Retry(0.01, whole=0, strict=True, first_pause=0.001)
    with pytest.raises(UnreachableError, match="SlowDown"):
        patience.call(Flaky(10**9))
    request = Flaky(0)
    with pytest.raises(UnreachableError, match="No request was sent"):
        patience.call(request)
    assert request.calls == 0


def test_stopped_call_ends_during_its_pause() -> None:
    stop = Stop()
    patience = Retry(10**6, first_pause=10**6, report=lambda text: None)
    failed = threading.Event()

    def request() -> str:
        failed.set()
        raise UnreachableError("503")

    errors: list[BaseException] = []

    def work() -> None:
        try:
            patience.call(request, stop=stop)
        except UnreachableError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    failed.wait()
    stop.set()
    thread.join()
    assert len(errors) == 1


def behind(work: Callable[[], object], interrupt: Callable[[], object]) -> None:
    with Behind(1) as others:
        others.call(work)
        interrupt()


def side_by_side(work: Callable[[], object], interrupt: Callable[[], object]) -> None:
    run_side_by_side([lambda guard: work(), lambda guard: interrupt()], 2)


@pytest.mark.parametrize("call", [behind, side_by_side])
def test_interrupt_ends_the_pauses_of_other_threads(
    call: Callable[[Callable[[], object], Callable[[], object]], None],
) -> None:
    patience = Retry(60, first_pause=60)
    failed, errors = threading.Event(), list[BaseException]()

    def request() -> None:
        failed.set()
        raise UnreachableError("503")

    def work() -> None:
        try:
            patience.call(request)
        except UnreachableError as error:
            errors.append(error)
            raise

    def interrupt() -> None:
        assert failed.wait(60)
        time.sleep(0.1)  # until the pause has begun
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        call(work, interrupt)
    assert time.monotonic() - began < 20
    assert len(errors) == 1
    assert patience.allowance() == 60, "the operation may go on, if only a part of it has failed"


def test_interrupted_pause_leaves_little_time_for_later_requests() -> None:
    patience = Retry(600, first_pause=60)
    main = threading.get_ident()
    threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        patience.call(Flaky(10**9))
    assert patience.allowance() == BRIEF_SECONDS
    patience.give_up(BRIEF_SECONDS)
    patience.hasten()
    assert patience.allowance() == 0


def test_stream_goes_on_at_the_offset_where_it_broke() -> None:
    offsets: list[int] = []

    def open_at(offset: int) -> Blocks:
        offsets.append(offset)
        for place in range(offset, 10):
            if len(offsets) < 4 and place == offset + 3:
                raise UnreachableError("reset")
            yield b"0123456789"[place : place + 1]

    assert b"".join(retry(300).stream(open_at)) == b"0123456789"
    assert offsets == [0, 3, 6, 9]
