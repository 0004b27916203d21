"""Standstills are told, with what is known of the reason; nothing is ever ended for them."""

from __future__ import annotations

import threading

import pytest

from igny8_backup.errors import DatabaseError
from igny8_backup.operations.stalls import StallMonitor
from igny8_backup.streams import Blocks
from tests.operations.conftest import Notes

SOON, SECONDS = 0.05, 60


class Told(Notes):
    """A progress that lets one wait for a note."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def note(self, text: str) -> None:
        super().note(text)
        self.told.set()

    def next(self) -> str:
        assert self.told.wait(SECONDS)
        self.told.clear()
        return self.texts[-1]


def test_who_is_waited_for_is_told() -> None:
    shown = Told()

    def slow() -> Blocks:
        shown.next()
        yield b"a block"

    with StallMonitor("database default", shown, seconds=SOON) as watch:
        watch.wait_for("the server")
        for _ in watch.through(slow(), source="the dump", sink="the storage"):
            shown.told.clear()
            assert "waiting for the storage. The run goes on." in shown.next()
        shown.told.clear()
        assert "waiting for the server." in shown.next()
    told = [text.partition(", ")[2] or text.partition(" after")[0] for text in shown.texts]
    assert told[0] == "waiting for the dump. The run goes on."
    assert "database default: moving again" in told


def test_it_is_told_again_and_again_but_less_and_less() -> None:
    shown = Told()
    with StallMonitor("it", shown, seconds=SOON) as watch:
        watch.wait_for("Godot")
        for _ in range(3):
            shown.next()
        watch.wait_for("Godot")
    assert len(shown.texts) == 4 and "moving again" in shown.texts[-1]


def test_where_nobody_is_waited_for_standing_still_is_fine() -> None:
    shown = Told()
    with StallMonitor("it", shown, seconds=SOON) as watch:
        assert not shown.told.wait(4 * SOON)
        watch.wait_for("someone")
        shown.next()
        watch.wait_for("")
        shown.told.clear()
        assert not shown.told.wait(4 * SOON)


@pytest.mark.parametrize("fails", [False, True])
def test_the_reason_is_told_even_if_it_cannot_be_had(fails: bool) -> None:
    shown = Told()

    def reason() -> str:
        if fails:
            raise DatabaseError("The server does not answer.")
        return "A lock is held."

    with StallMonitor("it", shown, seconds=SOON, reason=reason) as watch:
        watch.wait_for("the server")
        wanted = "The server does not answer." if fails else "A lock is held."
        assert f"waiting for the server. {wanted} The run goes on." in shown.next()


def test_a_failure_ends_the_watch() -> None:
    shown = Told()
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), StallMonitor("it", shown, seconds=SOON) as watch:
        watch.wait_for("Godot")
        raise KeyboardInterrupt
    assert threading.active_count() == before
