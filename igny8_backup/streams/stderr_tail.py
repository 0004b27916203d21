"""Keep the useful part of a program's stderr, and describe in an error how the program failed.

Entry points: ``StderrTail``, and ``start_error`` and ``failure``, which return the error to raise.
"""

from __future__ import annotations

import os
import signal

from igny8_backup.errors import ToolError, ToolMissingError

HEAD, TAIL = 1024, 2048
"""Numbers of bytes that are kept from the beginning and from the end of stderr. The beginning usually names
the cause."""

CUT = "\n...\n"
"""Text that stands for the bytes between head and tail."""


class StderrTail:
    """The beginning and the end of what a program writes to stderr. ``str()`` returns them as text."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = False

    def append(self, piece: bytes) -> None:
        """Add the next bytes that the program wrote to stderr."""
        missing = HEAD - len(self._head)
        self._head += piece[:missing]
        tail = self._tail + piece[missing:]
        self._cut |= len(tail) > TAIL
        self._tail = tail[-TAIL:]

    def __str__(self) -> str:
        text = self._head + (CUT.encode() if self._cut else b"") + self._tail
        return text.decode(errors="replace").strip("\ufffd\r\n\t ")


def start_error(program: str, error: OSError) -> ToolError:
    """Return the error for a program that could not be started."""
    name = os.path.basename(program)
    if isinstance(error, FileNotFoundError):
        place = "" if program == name else f" in {os.path.dirname(program)}"
        return ToolMissingError(
            f"{name} is not installed{place or ' (not found on PATH)'}.",
            hint=f"Install the package that contains {name}, then run the command again.",
        )
    return ToolError(
        f"{name} could not be started: {error.strerror}.",
        hint=f"Check that this user may run {program}, then run the command again.",
    )


def failure(name: str, status: int, tail: str) -> ToolError:
    """Return the error for a program that failed.

    ``status`` is its exit status as ``subprocess`` reports it: negative for a signal, never 0. ``tail`` is
    the text of its :class:`StderrTail`.
    """
    if status > 0:
        hint = f"Solve the problem that {name} reports, then run the command again."
    else:
        hint = (
            "Run the command again. If memory was short, the kernel ended the program: see its log (dmesg)."
        )
    return ToolError(
        f"{name} {describe_exit(status)}{f': {tail}' if tail else ' and printed no error message.'}",
        hint=hint,
        stderr_tail=tail,
        exit_status_of_tool=status,
    )


def describe_exit(status: int) -> str:
    """Describe an exit status; a negative one is the number of the signal that ended the program."""
    if status > 0:
        return f"failed with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # real-time signals have no names
        return f"was killed by signal {-status}"
