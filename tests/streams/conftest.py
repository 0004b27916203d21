"""What the tests of streams share: fake programs, and a look at what a test leaves behind."""

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
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that is just leaving
            children.update((task / "children").read_text().split())
    return children


def _descriptors() -> set[str]:
    """Each open descriptor with what it leads to, but for the one that lists them."""
    found: set[str] = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every test of streams ends with the threads, child processes and descriptors it began with."""
    threads, children, descriptors = set(threading.enumerate()), _children(), _descriptors()
    yield
    assert set(threading.enumerate()) <= threads
    assert _children() <= children
    left = _descriptors() - descriptors
    for _ in range(40):  # what earlier tests of other kinds left to the collector may come and go
        if not left:
            break
        gc.collect()
        time.sleep(0.05)
        left = _descriptors() - descriptors
    assert not left


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a shell script with the given body and returns its path; its name is ``pg_fake``."""

    def make(body: str) -> str:
        path = tmp_path / "pg_fake"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def installed() -> Program:
    """The path of a command line tool; without it the test is skipped, but fails in CI."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} must be installed in CI")
            pytest.skip(f"{name} is not installed")
        return path

    return find


class Source:
    """Blocks that remember who pulled them and whether they were closed."""

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
