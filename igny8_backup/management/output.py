"""Standard output and standard error of the commands."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from django.core.management.base import OutputWrapper

_GONE = (errno.EPIPE, errno.EIO)
"""Errors of writing to a pipe whose reader, such as ``head``, has closed it, and to a closed terminal."""


class Unstyled:
    """Standard error without the colour that Django gives errors, for progress and notes."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def write(self, text: str) -> None:
        self._stream.write(text, style_func=str)


class Output(OutputWrapper):
    """A stream whose failure does not end the run: once it cannot be written, further output is discarded.

    That happens if the reader goes away, if the stream was closed before the program began, or if its file
    cannot be written (a log on a full disk, for example). A character that the encoding of the stream lacks
    is escaped.

    Each text is flushed immediately. So if both streams go into one log, their lines stay in order. And
    nothing is left to flush when the interpreter exits, where a failure would print a traceback.
    """

    reader_gone = False
    """Whether a write has failed, usually because the reader has gone away; later output is discarded."""
    lost = ""
    """A sentence that says why output could not be written. Empty if the reader has gone away."""

    @classmethod
    def around(cls, wrapper: OutputWrapper) -> Output:
        """Return an ``Output`` that writes to the same file as ``wrapper``, a stream of a Django command.

        If a library has replaced the stream by an object that wraps no file, the ``Output`` writes to this
        object.
        """
        stream: Any = getattr(wrapper, "_out", wrapper)
        return cls(stream)

    def write(  # type: ignore[override]  # Django's own is declared so
        self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None
    ) -> None:
        if self._out is None:  # Python found the stream closed
            return
        try:
            super().write(self._encodable(msg), style_func, ending)
            self.flush()
        except OSError as error:
            if error.errno not in _GONE:
                self.lost = f"The output of this command could not be written: {error.strerror}."
            self._discard()

    def _encodable(self, text: str) -> str:
        encoding = getattr(self._out, "encoding", None)
        return text.encode(encoding, "backslashreplace").decode(encoding) if encoding else text

    def _discard(self) -> None:
        self.reader_gone = True
        stream: Any = self._out
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), stream.fileno())


def labelled(note: str) -> str:
    """Return a note of a plan after ``NOTE: ``. One that begins with ``WARNING: `` is returned as it is."""
    return note if note.startswith("WARNING: ") else f"NOTE: {note}"
