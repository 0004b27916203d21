"""Fixtures for tests of streams: fake programs, and a check that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from igny8_backup.streams import Blocks
from tests.descriptors import descriptors, descriptors_left

Program = Callable[[str], str]
"""Takes the body of a shell script, or the name of a tool, and returns the path of a program."""


def _children() -> set[str]:
    children: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            children.update((task / "children").read_text().split())
    return children


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Assert that a test leaves no thread, child process or descriptor behind."""
    threads, children, before = set(threading.enumerate()), _children(), descriptors()
    yield
    assert set(threading.enumerate()) <= threads
    assert _children() <= children
    left = descriptors_left(before)
    assert not left, f"descriptors left open: {sorted(left)}"


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
