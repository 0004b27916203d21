"""Report how a command or task ended: by a ping, a mail, notifications and the signal ``reported``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from igny8_backup import signals
from igny8_backup.common.clock import utc_now
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.operations.notify.outcome import tell_outcome
from igny8_backup.operations.notify.ping import FAIL, START, SUCCESS, check_url, ping
from igny8_backup.operations.notify.redact import redacted
from igny8_backup.operations.notify.run_log import log_run
from igny8_backup.operations.progress import Progress

TAIL = 50
"""The report of a failure includes the last notes of the run: at most this many."""


class Report:
    """A context manager around one command or task, which reports the outcome on exit.

    A ``Report`` is also the :class:`Progress` of the run: it forwards all calls to ``progress`` and includes
    the last notes in the report. The run has failed if an exception leaves the ``with`` block or :meth:`fail`
    was called. A ping, mail or notification that cannot be sent is noted and never fails the run.

    ``what`` is the name of the command, ``url`` the URL to ping, if any. Entering the ``with`` block raises
    ``UsageError`` if the URL is invalid.
    """

    def __init__(self, what: str, progress: Progress, *, url: str = "") -> None:
        self._what = what
        self._progress = progress
        self._url = url
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._scope: tuple[str, ...] | None = None
        self._alarms: tuple[Alarm, ...] = ()
        self._failed = False
        self._silent = False
        self._started = utc_now()

    def begin(self, what: str, total: int | None, count: int | None = None, unit: str = "files") -> None:
        self._progress.begin(what, total, count, unit)

    def advance(self, amount: int, count: int = 0) -> None:
        self._progress.advance(amount, count)

    def end(self) -> None:
        self._progress.end()

    def note(self, text: str) -> None:
        self._tail.append(text)
        self._progress.note(text)

    def cover(self, *parts: str) -> None:
        """Set the databases and trees that this run works on. The alarms of all others do not change."""
        self._scope = parts

    def fail(self, *lines: str, alarms: Iterable[Alarm] = (), reason: str = "incomplete") -> None:
        """Report the run as failed, for the reasons in ``lines``.

        ``alarms`` name the databases and trees that failed, each with its reason, so that the same failure is
        not sent every hour. Without them, everything that the run covers has failed for ``reason``.
        """
        self._tail.extend(lines)
        self._failed = True
        self._alarms = tuple(alarms) or tuple(Alarm(part, reason) for part in self._scope or ("",))

    def suppress(self) -> None:
        """Report nothing, because another run does this work and reports it."""
        self._silent = True

    def __enter__(self) -> Self:
        if self._url:
            check_url(self._url)
            self._ping(START)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._silent:
            return
        if error is not None and not self._failed:
            self.fail(str(error) or type(error).__name__, reason=type(error).__name__)
        text = redacted("\n".join(self._tail)) if self._failed else ""
        self._ping(FAIL if self._failed else SUCCESS, text)
        if error is None or isinstance(error, Exception):  # no message after Ctrl-C
            for problem in tell_outcome(self._what, self._alarms, text, utc_now(), scope=self._scope):
                self._progress.note(redacted(problem))
        log_run(self._what, self._started, self._alarms, text)
        signals.reported.send_robust(sender=None, command=self._what, ok=not self._failed, text=text)

    def _ping(self, word: str, text: str = "") -> None:
        if self._url and (problem := ping(self._url, word, text)):
            self._progress.note(problem)
