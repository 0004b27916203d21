"""Waiting for a lock: the run starts when the other one ends, and notes what it waits for."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from igny8_backup.errors import LockedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.progress import NullProgress


class Notes(NullProgress):
    """Keeps the notes; a test can wait for one."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.noted = threading.Event()

    def note(self, text: str) -> None:
        self.texts.append(text)
        self.noted.set()


def test_locked_waiting_run_starts_when_the_other_ends(context: BackupContext) -> None:
    notes = Notes()
    ended: list[str] = []
    waiting = replace(context, wait=60, progress=notes)

    def other() -> None:
        with context.locked("pruning"):
            begun.set()
            notes.noted.wait(60)
            ended.append("pruning")

    begun = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(60)
    with waiting.locked("a backup"):
        assert ended == ["pruning"]
    thread.join()
    (text,) = notes.texts
    assert text.startswith("Waiting up to 60 s for the other run to end. Another run is using")
    assert "pruning, since" in text


def test_locked_wait_expires_raises(context: BackupContext) -> None:
    notes = Notes()
    waiting = replace(context, wait=0.01, progress=notes)
    with context.locked("pruning"), pytest.raises(LockedError, match="pruning"), waiting.locked("a backup"):
        pytest.fail("both runs hold the lock")
    assert len(notes.texts) == 1


def test_locked_error_inside_is_not_retried(context: BackupContext) -> None:
    waiting, times = replace(context, wait=60), []
    with pytest.raises(LockedError, match="lost"), waiting.locked("a backup"):
        times.append(1)
        raise LockedError("The lock was lost.")
    assert times == [1]
