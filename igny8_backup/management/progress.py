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
        self._count = 0
        self._count_total: int | None = None
        self._unit = ""
        self._begun = self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        self.end()
        self._what, self._total, self._done = what, total, 0
        self._count_total, self._count, self._unit = count, 0, unit
        self._begun = self._shown = time.monotonic()
        # The live line hides the cursor, so it must be gone while the command asks a question.
        if self._stream.isatty():
            self._live = live_line(counting=self._counting)
            self._live.start()
            self._task = self._live.add_task(what, total=count if self._counting else total)

    def advance(self, amount: int, count: int = 0) -> None:
        self._done += amount
        self._count += count
        if self._total is not None:
            self._total = max(self._total, self._done)  # an estimate
        if self._count_total is not None:
            self._count_total = max(self._count_total, self._count)
        expected = _of(self._count, self._count_total)
        unit = self._unit.removesuffix("s") if self._count == 1 and not expected else self._unit
        number = f"{self._count:,}{expected} {unit}"
        counted = [number] if self._count else []
        if self._live and self._task is not None:
            description = ", ".join([self._what, *counted])
            done, total = (self._count, self._count_total) if self._counting else (self._done, self._total)
            self._live.update(self._task, completed=done, total=total, description=description)
        elif time.monotonic() - self._shown > self._every:
            self._shown = time.monotonic()
            megabytes = self._done / 1e6
            rate = megabytes / max(self._shown - self._begun, 0.001)
            size = f"{megabytes:,.0f}{_of(megabytes, (self._total or 0) / 1e6)} MB"
            shown = [number] if self._counting else [size, *counted, f"{rate:,.1f} MB/s"]
            self.note(f"{self._what}: {', '.join(shown)}")

    @property
    def _counting(self) -> bool:
        """Whether the work has no size in bytes, only a number of items."""
        return self._total is None and self._count_total is not None

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


def _of(done: float, expected: float | None) -> str:
    """Return " of about" and the ``expected`` value, or nothing if it is unknown or reached."""
    return f" of about {expected:,.0f}" if expected and expected > done else ""


def live_line(console: Console | None = None, *, counting: bool = False) -> Progress:
    """Return a live line that shows a bar, the amount, the rate and the time left.

    The line is on ``console``; without ``console``, on standard error. On a narrow terminal the description
    is cut off, so that the line is not wrapped. ``counting``: the work has no size in bytes, so the line
    shows neither amount nor rate.
    """
    # Imported only for a terminal: the import takes 0.05 s, and scheduled runs have no terminal.
    from rich import progress as rich
    from rich.console import Console
    from rich.table import Column

    sizes = (
        rich.DownloadColumn(table_column=Column(no_wrap=True)),
        rich.TransferSpeedColumn(table_column=Column(no_wrap=True)),
    )
    columns = (
        rich.TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        rich.BarColumn(10),
        rich.TaskProgressColumn(),
        *(() if counting else sizes),
        rich.TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
    )
    return rich.Progress(*columns, console=console or Console(stderr=True), transient=True, expand=True)
