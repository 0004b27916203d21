"""Helper steps of a run: a failure is remembered and never fails the run."""

from __future__ import annotations

import pytest

from igny8_backup.errors import BackupError, DatabaseError, IntegrityError, LockedError, UnfinishedError
from igny8_backup.operations.helper_steps import Shortfall, Shortfalls


def test_helper_step_failing_becomes_shortfall_with_hint() -> None:
    shortfalls = Shortfalls()
    with shortfalls.helper_step("default", "row counts", "The rows were not counted"):
        raise DatabaseError("the server is full.", unchanged="Nothing was changed.", hint="Free some memory.")
    text = "The rows were not counted: the server is full. Free some memory."
    assert shortfalls.take() == (Shortfall("default", "row counts", text),)
    assert shortfalls.take() == ()


def test_helper_step_repeated_failure_is_told_once() -> None:
    shortfalls = Shortfalls()
    for _ in range(3):
        shortfalls.add("default", "statistics", "It failed.")
    assert shortfalls.take_texts() == ("It failed.",)


@pytest.mark.parametrize("kind", [IntegrityError, LockedError, UnfinishedError, KeyboardInterrupt])
def test_helper_step_passes_errors_of_the_main_work_on(kind: type[BaseException]) -> None:
    shortfalls = Shortfalls()
    with pytest.raises(kind), shortfalls.helper_step("default", "row counts", "The rows were not counted"):
        raise kind("It is damaged.")
    assert shortfalls.take() == ()


def test_helper_step_without_failure_adds_nothing() -> None:
    shortfalls = Shortfalls()
    with shortfalls.helper_step("default", "row counts", "The rows were not counted"):
        assert BackupError("unused").exit_status == 1
    assert shortfalls.take() == ()
