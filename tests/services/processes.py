"""Processes of others, ended as a power cut would end them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all that it started, in whatever session: none may tidy up after another."""
    os.kill(pid, signal.SIGSTOP)  # or it would start more meanwhile
    for child in _children(pid):
        kill_tree(child)
    os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            found += map(int, (task / "children").read_text().split())
    return found
