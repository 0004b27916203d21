"""Standard output and standard error of the commands."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from django.core.management.base import OutputWrapper

_GONE = (errno.EPIPE, errno.EIO)
"""The reader has closed the pipe, as ``head`` does; the terminal was closed."""


class Output(OutputWrapper):
    """A stream whose reader may go away: what is written afterwards is discarded, and the run continues.

    Each text is written at once. This keeps the order of the two streams where both go into one log, and
    leaves nothing for the interpreter to write when it exits, where a failure would print a traceback.
    """

    reader_gone = False
    """Whether the reader has gone away."""

    @classmethod
    def around(cls, wrapper: OutputWrapper) -> Output:
        """Return an ``Output`` that writes to the same file as ``wrapper``, a stream of a Django command."""
        stream: Any = wrapper._out
        return cls(stream)

    def write(  # type: ignore[override]  # Django's own is declared so
        self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None
    ) -> None:
        try:
            super().write(msg, style_func, ending)
            self.flush()
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._discard()

    def _discard(self) -> None:
        self.reader_gone = True
        stream: Any = self._out
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), stream.fileno())
