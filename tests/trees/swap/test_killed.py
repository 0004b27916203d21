"""Swaps that are killed at every step, then finished or undone by another process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from igny8_backup.trees.swap.swap import exchange, state, undo
from tests.trees.swap.swapcase import WAYS, Case
from tests.trees.tools import exit_of_child

pytestmark = pytest.mark.slow


def steps(act: Callable[[Callable[[str], None]], None]) -> int:
    reported: list[str] = []
    act(reported.append)
    return len(reported)


def killed_at(number: int, act: Callable[[Callable[[str], None]], None]) -> None:
    """Run ``act`` in a child that kills itself before change ``number``."""
    left = number

    def on_step(_: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    assert exit_of_child(lambda: act(on_step)) == -signal.SIGKILL


@WAYS
@pytest.mark.parametrize("then", ["finished", "undone", "finished otherwise"])
def test_exchange_killed_at_any_step_is_finished_or_undone(
    tmp_path: Path, renames_only: bool, then: str
) -> None:
    case = Case(tmp_path / "count")
    total = steps(lambda on_step: exchange(case.plan, on_step=on_step, renames_only=renames_only))
    assert total == (7 + 2 * 4 if renames_only else 7) + 1
    states = []
    for number in range(total):
        case = Case(tmp_path / str(number))
        killed_at(number, lambda on_step: exchange(case.plan, on_step=on_step, renames_only=renames_only))  # noqa: B023 - called at once
        states.append(state(case.plan))
        if then == "undone":
            exchange(case.plan.reversed(), renames_only=renames_only)
            case.assert_old()
        else:
            exchange(case.plan, renames_only=renames_only is (then == "finished"))
            case.assert_new()
            undo(case.plan)
            case.assert_old()
    assert states[0] == "old" and set(states[1:-1]) == {"mixed"} and states[-1] == "new"


@WAYS
@pytest.mark.parametrize("then", ["finished", "taken back"])
def test_undo_killed_at_any_step_is_finished_or_reversed(
    tmp_path: Path, renames_only: bool, then: str
) -> None:
    case = Case(tmp_path / "count")
    exchange(case.plan)
    total = steps(lambda on_step: exchange(case.plan.reversed(), on_step=on_step, renames_only=renames_only))
    for number in range(total):
        case = Case(tmp_path / str(number))
        exchange(case.plan)
        back = case.plan.reversed()
        killed_at(number, lambda on_step: exchange(back, on_step=on_step, renames_only=renames_only))  # noqa: B023 - called at once
        if then == "finished":
            undo(case.plan)
            case.assert_old()
        else:
            exchange(case.plan)
            case.assert_new()


def test_exchange_killed_repeatedly_is_finished(tmp_path: Path) -> None:
    case = Case(tmp_path)
    for number in (3, 2, 2, 4, 1):
        killed_at(number, lambda on_step: exchange(case.plan, on_step=on_step, renames_only=True))
        killed_at(1, lambda on_step: exchange(case.plan.reversed(), on_step=on_step, renames_only=True))
    exchange(case.plan)
    case.assert_new()
