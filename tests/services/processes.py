"""Kill processes as a power failure would."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and all its descendants, in any session, so that none can clean up."""
    os.kill(pid, signal.SIGSTOP)  # so that it starts no more
    for child in _children(pid):
        kill_tree(child)
    os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            found += map(int, (task / "children").read_text().split())
    return found
