"""RunObserver: it reports progress and stalls, and never cancels anything."""

from __future__ import annotations

import threading
import time

import pytest

from igny8_backup.errors import DatabaseError
from igny8_backup.operations.progress import NullProgress, RunObserver
from igny8_backup.streams import Blocks
from tests.operations.conftest import Notes

SOON, SECONDS = 0.05, 60


class AwaitableNotes(Notes):
    """Keeps notes; a test can wait for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.noted = threading.Event()

    def note(self, text: str) -> None:
        super().note(text)
        self.noted.set()

    def next(self) -> str:
        assert self.noted.wait(SECONDS)
        self.noted.clear()
        return self.texts[-1]


def test_run_observer_stall_names_what_it_waits_for() -> None:
    notes = AwaitableNotes()

    def slow() -> Blocks:
        notes.next()
        yield b"a block"

    with RunObserver("database default", notes, stall_seconds=SOON) as observer:
        observer.waiting_for("the server")
        for _ in observer.monitor(slow(), source="the dump", sink="the storage"):
            notes.noted.clear()
            assert "waiting for the storage. The run goes on." in notes.next()
        notes.noted.clear()
        assert "waiting for the server." in notes.next()
    texts = [text.partition(", ")[2] or text.partition(" after")[0] for text in notes.texts]
    assert texts[0] == "waiting for the dump. The run goes on."
    assert "database default: moving again" in texts


def test_run_observer_stall_of_several_streams_names_those_that_have_not_ended() -> None:
    notes = AwaitableNotes()

    def blocks() -> Blocks:
        yield b"a block"

    with RunObserver("database default", notes, stall_seconds=SOON) as observer:
        held = observer.monitor(blocks(), source="the storage", sink="psql")
        other = observer.monitor(blocks(), source="the storage", sink="tar")
        next(held), next(other)
        while "waiting for psql and tar. The run goes on." not in notes.next():
            pass  # on a busy machine there can be a note about the first stream alone
        assert list(other) == []
        notes.noted.clear()
        assert "waiting for psql. The run goes on." in notes.next()
        held.close()


def test_run_observer_stall_after_a_stream_was_closed_early_does_not_name_it() -> None:
    notes = AwaitableNotes()

    def blocks() -> Blocks:
        yield b"a block"

    with RunObserver("database default", notes, stall_seconds=SOON) as observer:
        observer.waiting_for("the server")
        closed = observer.monitor(blocks(), source="the storage", sink="psql")
        next(closed)
        closed.close()
        notes.noted.clear()
        while "waiting for the server. The run goes on." not in notes.next():
            pass  # on a busy machine there can be a note before the stream is closed


def test_run_observer_long_stall_is_reported_less_and_less_often() -> None:
    notes, start = AwaitableNotes(), time.monotonic()
    with RunObserver("database default", notes, stall_seconds=SOON) as observer:
        observer.waiting_for("the server")
        for _ in range(3):
            notes.next()
        observer.waiting_for("the server")
        elapsed = time.monotonic() - start
    *stalls, end = notes.texts
    assert all("nothing has moved" in text for text in stalls) and "moving again" in end
    assert SOON * 2 ** (len(stalls) - 1) <= elapsed


def test_run_observer_waiting_for_nobody_reports_no_stall() -> None:
    notes = AwaitableNotes()
    with RunObserver("database default", notes, stall_seconds=SOON) as observer:
        assert not notes.noted.wait(4 * SOON)
        observer.waiting_for("the server")
        notes.next()
        observer.waiting_for("")
        notes.noted.clear()
        assert not notes.noted.wait(4 * SOON)


@pytest.mark.parametrize("fails", [False, True])
def test_run_observer_stall_includes_the_reason_or_why_there_is_none(fails: bool) -> None:
    notes = AwaitableNotes()

    def reason() -> str:
        if fails:
            raise DatabaseError("The server does not answer.")
        return "A lock is held."

    with RunObserver("database default", notes, stall_seconds=SOON, reason=reason) as observer:
        observer.waiting_for("the server")
        expected = "The server does not answer." if fails else "A lock is held."
        assert f"waiting for the server. {expected} The run goes on." in notes.next()


def test_run_observer_error_inside_ends_its_thread() -> None:
    threads = threading.active_count()
    with (
        pytest.raises(KeyboardInterrupt),
        RunObserver("database default", Notes(), stall_seconds=SOON) as observer,
    ):
        observer.waiting_for("the server")
        raise KeyboardInterrupt
    assert threading.active_count() == threads


def test_run_observer_reports_progress_and_renews_the_heartbeat() -> None:
    events: list[object] = []

    class Recorder(NullProgress):
        def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
            events.append((what, total, count))

        def advance(self, amount: int, count: int = 0) -> None:
            events.append((amount, count))

        def end(self) -> None:
            events.append("end")

    def blocks() -> Blocks:
        yield b"12345"

    with RunObserver(
        "files", Recorder(), stall_seconds=60, heartbeat=lambda: events.append("beat")
    ) as observer:
        observer.begin(10, 2)
        assert list(observer.monitor(blocks(), source="a", sink="b")) == [b"12345"]
        assert list(observer.monitor(blocks(), source="a", sink="b", counted=False)) == [b"12345"]
        observer.advance(0, 2)
    assert events == [("files", 10, 2), (5, 0), "beat", (0, 2), "beat", "end"]

    with RunObserver("never begun", Recorder(), stall_seconds=60):
        pass
    assert events[-1] == "end" and events.count("end") == 1
