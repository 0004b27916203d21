"""The errors: messages in three parts, the tree in the docstring, and copies by pickle."""

from __future__ import annotations

import pickle
import re

import pytest

from igny8_backup import errors
from igny8_backup.conf import ConfigurationError
from igny8_backup.errors import (
    BackupError,
    IntegrityError,
    RefusedError,
    ToolError,
    UsageError,
    adding_context,
)


def subclasses(kind: type[BackupError]) -> set[type[BackupError]]:
    """Return a class and all its subclasses in the package."""
    found = {kind}
    for below in kind.__subclasses__():
        found |= subclasses(below)
    return {item for item in found if item.__module__.startswith("igny8_backup")}


def test_docstring_lists_every_error_with_its_exit_status() -> None:
    listed = dict(re.findall(r"^[ |`-]+(\w+Error) +(\d)", errors.__doc__ or "", re.MULTILINE))
    assert ConfigurationError in subclasses(BackupError)
    # Internal to the store, to a fleet restore, and to the search for lost rows.
    internal = {
        "_WithdrawnError",
        "MissingObjectError",
        "UnreachableError",
        "ObjectExistsError",
        "LockedObjectError",
        "NoRangesError",
        "LostContentsError",
    }
    found = {kind.__name__: str(kind.exit_status) for kind in subclasses(BackupError)}
    assert {name: status for name, status in found.items() if name not in internal} == listed


def test_error_text_has_three_parts() -> None:
    error = UsageError("It failed.", unchanged="Nothing was changed.", hint="Try again.")
    assert str(error) == "It failed. Nothing was changed. Try again."
    assert error.parts == ("It failed.", "Nothing was changed.", "Try again.")
    assert error.what == "It failed."


def test_adding_context_fills_only_a_missing_part() -> None:
    for unchanged, expected in (("", "Nothing live was changed."), ("The file is as before.",) * 2):
        with pytest.raises(UsageError) as caught, adding_context("Nothing live was changed."):
            raise UsageError("It failed.", unchanged=unchanged, hint="Try again.")
        assert str(caught.value) == f"It failed. {expected} Try again."


def test_usage_error_says_by_default_that_nothing_was_changed() -> None:
    error = UsageError("It failed.", hint="Try again.")
    assert str(error) == "It failed. Nothing was changed. Try again."
    error.add_context("No backup was made.")
    assert str(error) == "It failed. No backup was made. Try again."


def test_integrity_error_has_a_default_hint() -> None:
    assert str(IntegrityError("It differs.")) == f"It differs. {IntegrityError.default_hint}"
    assert str(IntegrityError("It differs.", hint="Stop.")) == "It differs. Stop."


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("It differs."),
        IntegrityError("It differs. And more."),
        UsageError("It failed."),
        IntegrityError("It differs.", unchanged="Nothing was changed.", hint="Stop."),
        ToolError("It failed.", stderr_tail="why", exit_status_of_tool=3),
    ],
)
def test_pickled_error_is_equal(error: BackupError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.parts, copy.args, vars(copy)) == (
        str(error),
        error.parts,
        error.args,
        vars(error),
    )
    assert str(type(error)(*error.args)) == str(error)  # as a Celery result backend builds it


def test_message_after_a_list_begins_on_a_new_line_without_a_space() -> None:
    error = RefusedError("Not possible:\n  - one\n", unchanged="Nothing was changed.", hint="Run it again.")
    assert str(error) == "Not possible:\n  - one\nNothing was changed. Run it again."
