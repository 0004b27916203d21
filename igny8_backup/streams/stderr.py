"""What a program says on stderr, as much of it as an error message can use, and what is said of its end."""

from __future__ import annotations

import os
import signal

from igny8_backup.errors import ToolError, ToolMissingError

HEAD, TAIL = 1024, 2048
"""Bytes that are kept: the first, which name the cause, and the last."""

CUT = "\n...\n"
"""Stands for what was left out between them."""


class Said:
    """Both ends of a text of any length; ``str()`` gives it, without the middle where it is longer."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = False

    def keep(self, piece: bytes) -> None:
        """Take what comes next."""
        room = HEAD - len(self._head)
        self._head += piece[:room]
        tail = self._tail + piece[room:]
        self._cut |= len(tail) > TAIL
        self._tail = tail[-TAIL:]

    def __str__(self) -> str:
        kept = self._head + (CUT.encode() if self._cut else b"") + self._tail
        return kept.decode(errors="replace").strip("\ufffd\r\n\t ")


def not_started(program: str, error: OSError, cwd: str | None) -> ToolError:
    """The error for a program that could not be started (in the folder ``cwd``)."""
    name = os.path.basename(program)
    if isinstance(error, FileNotFoundError) and (cwd is None or os.path.isdir(cwd)):
        place = "" if program == name else f" in {os.path.dirname(program)}"
        return ToolMissingError(f"{name} is not installed{place or ' (not found on PATH)'}.")
    return ToolError(f"{name} could not be started: {error.strerror}.")


def ending(status: int) -> str:
    """An exit status, or minus the number of the signal that ended it, in words."""
    if status > 0:
        return f"failed with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # real-time signals have no names
        return f"was killed by signal {-status}"
