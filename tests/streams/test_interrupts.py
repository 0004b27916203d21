"""Signals that arrive while a child process is started or handlers are restored."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from igny8_backup.streams.child import Child
from igny8_backup.streams.interrupts import delay_interrupts, submit


class Stopped(KeyboardInterrupt):
    pass


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest) -> Any:
    """Each signal, handled as commands handle it: by an exception."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    before = signal.signal(request.param, stop)
    yield request.param
    signal.signal(request.param, before)


def test_delay_interrupts_signal_inside_is_handled_at_the_end(number: signal.Signals) -> None:
    reached, handler = [], signal.getsignal(number)
    with pytest.raises(Stopped), delay_interrupts():
        signal.raise_signal(number)
        signal.raise_signal(number)
        reached.append("the end")
    assert reached == ["the end"]
    assert signal.getsignal(number) is handler


def test_delay_interrupts_signal_during_restore_keeps_all_handlers() -> None:
    """SIGINT arrives after its own handler is restored and before that of SIGTERM is."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    def at_signal(frame: FrameType, event: str, arg: object) -> None:
        names = frame.f_code.co_name, frame.f_back and frame.f_back.f_code.co_name
        if event == "return" and names == ("signal", "_restore") and not sent:
            sent.append(True)
            signal.raise_signal(signal.SIGINT)

    sent: list[bool] = []
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(Stopped), delay_interrupts():
            sys.setprofile(at_signal)
        assert sent
        assert {signal.getsignal(number) for number in before} == {stop}
    finally:
        sys.setprofile(None)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_delay_interrupts_keeps_ignored_signals_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with delay_interrupts():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_child_start_interrupted_stops_the_child(number: signal.Signals) -> None:
    """The signal arrives after ``Popen`` has forked and before its caller has the object."""
    started: list[int] = []

    def in_popen(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_name != "_execute_child":
            return None

        def line(frame: FrameType, event: str, arg: object) -> Any:
            pid = getattr(frame.f_locals["self"], "pid", None)
            if pid and not started:
                started.append(pid)
                signal.raise_signal(number)
            return line

        return line

    before = sys.gettrace()
    sys.settrace(in_popen)
    try:
        with pytest.raises(Stopped):
            Child(["sleep", "60"], read=True)
    finally:
        sys.settrace(before)
    (pid,) = started
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)  # stopped and reaped


def test_pool_waits_for_a_thread_whose_start_was_interrupted(number: signal.Signals) -> None:
    def at_signal(frame: FrameType, event: str, arg: object) -> None:
        where = frame.f_code.co_filename, frame.f_code.co_name
        if event == "return" and where == (threading.__file__, "start") and not sent:
            sent.append(True)
            signal.raise_signal(number)

    def work() -> None:
        time.sleep(0.2)
        done.append(True)

    sent, done = list[bool](), list[bool]()
    with pytest.raises(Stopped), ThreadPoolExecutor(1) as pool:
        sys.setprofile(at_signal)
        try:
            submit(pool, work)
        finally:
            sys.setprofile(None)
    assert sent and done
