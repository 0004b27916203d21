"""Fixtures for tests of streams: fake programs, and a check that nothing is left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from igny8_backup.streams import Blocks

Program = Callable[[str], str]
"""Takes the body of a shell script, or the name of a tool, and returns the path of a program."""


def _children() -> set[str]:
    children: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            children.update((task / "children").read_text().split())
    return children


def _descriptors() -> set[str]:
    """Return each open descriptor with its target, except the one that lists them."""
    found: set[str] = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Assert that a test leaves no thread, child process or descriptor behind."""
    threads, children, descriptors = set(threading.enumerate()), _children(), _descriptors()
    yield
    assert set(threading.enumerate()) <= threads
    assert _children() <= children
    left = _descriptors() - descriptors
    for _ in range(40):  # objects of earlier tests may still wait for the garbage collector
        if not left:
            break
        gc.collect()
        time.sleep(0.05)
        left = _descriptors() - descriptors
    assert not left


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Create a shell script ``pg_fake`` with the given body and return its path."""

    def make(body: str) -> str:
        path = tmp_path / "pg_fake"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def installed() -> Program:
    """Return the path of a command line tool; without it, skip the test, or fail it in CI."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} must be installed in CI")
            pytest.skip(f"{name} is not installed")
        return path

    return find


class Source:
    """A stream that records which threads pulled it and whether it was closed."""

    def __init__(self, *blocks: bytes, error: BaseException | None = None) -> None:
        self._blocks = blocks
        self._error = error
        self.threads: set[int] = set()
        self.closed = False

    def stream(self) -> Blocks:
        try:
            for block in self._blocks:
                self.threads.add(threading.get_ident())
                yield block
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


@pytest.fixture
def source() -> type[Source]:
    return Source
