"""A run that waits begins when the other one has ended, and says for whom it waits."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from igny8_backup.errors import LockedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.progress import NullProgress


class Notes(NullProgress):
    """Keeps the notes, and tells when there is one."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.told = threading.Event()

    def note(self, text: str) -> None:
        self.texts.append(text)
        self.told.set()


def test_locked_waiting_run_starts_when_the_other_ends(context: BackupContext) -> None:
    notes = Notes()
    ended: list[str] = []
    patient = replace(context, wait=60, progress=notes)

    def other() -> None:
        with context.locked("pruning"):
            begun.set()
            notes.told.wait(60)
            ended.append("pruning")

    begun = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(60)
    with patient.locked("a backup"):
        assert ended == ["pruning"]
    thread.join()
    (text,) = notes.texts
    assert text.startswith("Waiting up to 60 s. Another run works on") and "pruning, since" in text


def test_locked_wait_expires_raises(context: BackupContext) -> None:
    notes = Notes()
    patient = replace(context, wait=0.01, progress=notes)
    with context.locked("pruning"), pytest.raises(LockedError, match="pruning"), patient.locked("a backup"):
        pytest.fail("two hold the lock")
    assert len(notes.texts) == 1


def test_locked_error_inside_is_not_retried(context: BackupContext) -> None:
    patient, times = replace(context, wait=60), []
    with pytest.raises(LockedError, match="lost"), patient.locked("a backup"):
        times.append(1)
        raise LockedError("The lock was lost.")
    assert times == [1]
