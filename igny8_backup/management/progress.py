"""Show the progress of a command: a live line on a terminal, a plain line every 30 seconds in a log."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from igny8_backup.common.humanize import indented

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_EVERY = 30.0  # seconds between two lines in a log


class TextProgress:
    """The :class:`~igny8_backup.operations.progress.Progress` that commands use; it writes to ``stream``.

    On a terminal it shows a live line with rate, size and time left. On any other stream it writes a new line
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
            self._live = live_line()
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


def live_line(console: Console | None = None) -> Progress:
    """Return a live line that shows a bar, the amount, the rate and the time left.

    The line is on ``console``; without ``console``, on standard error. On a narrow terminal the description
    is cut off, so that the line is not wrapped.
    """
    # Imported only for a terminal: the import takes 0.05 s, and scheduled runs have no terminal.
    from rich import progress as rich
    from rich.console import Console
    from rich.table import Column

    columns = (
        rich.TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        rich.BarColumn(10),
        rich.TaskProgressColumn(),
        rich.DownloadColumn(table_column=Column(no_wrap=True)),
        rich.TransferSpeedColumn(table_column=Column(no_wrap=True)),
        rich.TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
    )
    return rich.Progress(*columns, console=console or Console(stderr=True), transient=True, expand=True)
