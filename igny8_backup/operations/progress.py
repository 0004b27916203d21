"""Report the progress of an operation, and notice when it stalls.

Commands and tasks implement :class:`Progress` to show an operation to people. Operations use
:class:`RunObserver`, which reports to a ``Progress``, notices stalls, and renews the heartbeat of a backup
run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from igny8_backup.common.humanize import duration_in_words
from igny8_backup.errors import BackupError
from igny8_backup.streams import Block


class Progress(Protocol):
    """Receives progress and notes from operations, and shows them to people."""

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        """Show that the work on ``what`` begins.

        ``total`` (bytes) and ``count`` (the number of files or of another ``unit``, in the plural) are
        estimates, ``None`` if unknown.
        """

    def advance(self, amount: int, count: int = 0) -> None:
        """Show that ``amount`` more bytes and ``count`` more files, or another unit, are done.

        ``amount`` is negative if a file has changed while it was read, and is read again.
        """

    def end(self) -> None:
        """Show that the work that began last has ended, successfully or not."""

    def note(self, text: str) -> None:
        """Show a message. May be called from any thread."""


class NullProgress:
    """A :class:`Progress` that shows nothing."""

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None: ...

    def advance(self, amount: int, count: int = 0) -> None: ...

    def end(self) -> None: ...

    def note(self, text: str) -> None: ...


class RunObserver:
    """Observe one part of a run: show its progress, report stalls, renew the heartbeat of the run.

    A context manager. Inside the ``with`` block, a thread checks how long nothing has moved. After
    ``stall_seconds``, the thread shows a note that says what the run is waiting for. The note is repeated
    each time that the stall has become twice as long. When work continues, another note says so. The run is
    never cancelled, because a dump can take any time.

    Before a note about a stall, the thread calls ``reason``, which returns a sentence that explains the
    stall, or ``""``. ``heartbeat`` is called whenever progress is made.
    """

    def __init__(
        self,
        what: str,
        progress: Progress,
        *,
        stall_seconds: float,
        reason: Callable[[], str] = str,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self._what = what
        self._progress = progress
        self._stall_seconds = stall_seconds
        self._reason = reason
        self._heartbeat = heartbeat
        self._begun = False
        self._ended_by: BackupError | None = None
        self._waiting_for = ""
        self._moved = time.monotonic()
        self._report_after = stall_seconds
        self._lock, self._advancing = threading.Lock(), threading.Lock()
        self._streams: dict[object, str] = {}  # what each monitored stream waits for
        self._between = ""
        self._closed = threading.Event()
        # Daemon: a server that never answers reason() must not keep the interpreter from exiting.
        self._thread = threading.Thread(
            target=self._check_for_stalls, name="igny8_backup-stalls", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        if self._begun:
            self._progress.end()

    def begin(self, total: int | None, count: int | None = None) -> None:
        """Show that the work begins. The arguments are those of :meth:`Progress.begin`."""
        self._begun = True
        self._progress.begin(self._what, total, count)

    def advance(self, amount: int, count: int = 0) -> None:
        """Report ``amount`` more bytes and ``count`` more files as done."""
        with self._advancing:  # several streams may advance at the same time
            self._progress.advance(amount, count)
            self._heartbeat()

    def waiting_for(self, party: str) -> None:
        """Record that data moved, and that the run now waits for ``party``, such as "the storage".

        While ``party`` is ``""``, stalls are not reported.
        """
        with self._lock:
            self._record(party)

    def end_with(self, error: BackupError) -> None:
        """Make :meth:`monitor` raise ``error`` instead of yielding another block. Safe from any thread."""
        self._ended_by = error

    def monitor(
        self, blocks: Generator[Block, None, None], *, source: str, sink: str, counted: bool = True
    ) -> Generator[Block, None, None]:
        """Yield ``blocks`` of data unchanged, and report stalls.

        In messages, ``source`` names what yields the blocks, and ``sink`` names what takes them. ``counted``:
        report the sizes of the blocks as progress. At the end, the run waits again for the party that was set
        with :meth:`waiting_for` before. Several streams may be monitored at the same time; the run then waits
        for the parties of all of them.
        """
        with closing(blocks), self._stream() as waiting_for:
            waiting_for(source)
            for block in blocks:
                if self._ended_by:
                    raise self._ended_by
                if counted:
                    self.advance(len(block))
                waiting_for(sink)
                yield block
                waiting_for(source)

    @contextmanager
    def _stream(self) -> Iterator[Callable[[str], None]]:
        """Monitor one more stream; yield the function that records what it waits for.

        What the run waited for before the first stream is remembered.
        """
        stream = object()

        def waiting_for(party: str) -> None:
            with self._lock:
                self._streams[stream] = party
                self._record(self._parties())

        with self._lock:
            if not self._streams:
                self._between = self._waiting_for
            self._streams[stream] = ""
        at_end = False
        try:
            yield waiting_for
            at_end = True
        finally:
            with self._lock:
                del self._streams[stream]
                waits_for = self._parties() or self._between
                if at_end:
                    self._record(waits_for)
                else:  # closed early, or failed: no note says that it moves again
                    self._waiting_for = waits_for

    def _parties(self) -> str:
        """Return what all monitored streams wait for. The caller holds the lock, here and below."""
        return " and ".join(sorted({party for party in self._streams.values() if party}))

    def _record(self, party: str) -> None:
        if self._report_after > self._stall_seconds:
            self._progress.note(f"{self._what}: moving again after {self._stalled_for()} without progress.")
        self._waiting_for, self._moved = party, time.monotonic()
        self._report_after = self._stall_seconds

    def _check_for_stalls(self) -> None:
        while not self._closed.wait(max(self._report_after - self._idle_seconds(), 0.05)):
            moved = self._moved
            if self._waiting_for and self._idle_seconds() >= self._report_after:
                reason = self._find_reason()
                with self._lock:
                    if moved == self._moved and not self._closed.is_set():
                        self._report_stall(reason)

    def _find_reason(self) -> str:
        try:
            return self._reason()
        except BackupError as error:
            return str(error)

    def _report_stall(self, reason: str) -> None:
        self._report_after = 2 * self._idle_seconds()
        stall = f"{self._what}: nothing has moved for {self._stalled_for()}, waiting for {self._waiting_for}."
        self._progress.note(" ".join(filter(None, (stall, reason, "The run goes on."))))

    def _idle_seconds(self) -> float:
        return time.monotonic() - self._moved

    def _stalled_for(self) -> str:
        return duration_in_words(timedelta(seconds=self._idle_seconds()), units=2)
