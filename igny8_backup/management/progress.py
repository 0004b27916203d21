"""Show the progress of a command: a live line on a terminal, a plain line every 30 seconds in a log."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from igny8_backup.humanize import indented

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = 30.0  # seconds between two lines in a log


class TextProgress:
    """The :class:`~igny8_backup.operations.progress.Progress` of the commands, shown on ``stream``.

    On a terminal this is a live line with rate, size and time left. On any other stream it is a new line
    every ``every`` seconds.
    """

    def __init__(self, stream: Any, *, every: float = _EVERY) -> None:
        self._stream = stream
        self._every = every
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._done = 0
        self._total: int | None = None
        self._files = 0
        self._files_total: int | None = None
        self._begun = self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, what: str, total: int | None, files: int | None = None) -> None:
        self.end()
        self._what, self._total, self._done = what, total, 0
        self._files_total, self._files = files, 0
        self._begun = self._shown = time.monotonic()
        # The live line hides the cursor, so it must be gone while the command asks a question.
        if self._stream.isatty():
            self._live = _live_line()
            self._live.start()
            self._task = self._live.add_task(what, total=total)

    def advance(self, amount: int, files: int = 0) -> None:
        self._done += amount
        self._files += files
        if self._total is not None:
            self._total = max(self._total, self._done)  # an estimate
        counted = ""
        if self._files:
            expected = self._files_total or 0
            of = f" of about {expected:,}" if expected > self._files else ""
            counted = f", {self._files:,}{of} files"
        if self._live and self._task is not None:
            description = f"{self._what}{counted}"
            self._live.update(self._task, advance=amount, total=self._total, description=description)
        elif time.monotonic() - self._shown > self._every:
            self._shown = time.monotonic()
            rate = self._done / max(self._shown - self._begun, 0.001)
            total = self._total or 0
            of = f" of about {total / 1e6:,.0f}" if total > self._done else ""
            self.note(f"{self._what}: {self._done / 1e6:,.0f}{of} MB{counted}, {rate / 1e6:,.1f} MB/s")

    def end(self) -> None:
        if self._live:
            with suppress(OSError):  # the terminal was closed
                self._live.stop()
        self._live = self._task = None

    def note(self, text: str) -> None:
        text = indented(text)
        live = self._live  # another thread may call note() while this one calls end()
        if live:
            live.console.print(text, markup=False, highlight=False)
        else:
            self._stream.write(text)


def _live_line() -> Progress:
    # Imported only for a terminal: the import takes 0.05 s, and scheduled runs have no terminal.
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
