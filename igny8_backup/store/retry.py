"""Repeat requests to storage that failed for a temporary reason, after growing pauses.

:class:`Retry` decides for all requests of a store whether and when they are repeated, and reports it. Only a
request that raises ``UnreachableError`` is repeated: the stores raise it for failures after which a later
attempt may succeed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import TypeVar

from igny8_backup.common.humanize import duration_in_words
from igny8_backup.errors import StorageError
from igny8_backup.store.objects import UnreachableError
from igny8_backup.streams import Blocks
from igny8_backup.streams.stop import Stop

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""The first and the longest pause between two attempts, in seconds. A random part of up to half is cut from
each pause, so that hosts whose requests failed together do not repeat them together."""
LATER_SHARE = 0.1
"""After a request has failed for good, later requests are repeated for this share of the time limit."""
WHOLE = 3.0
"""The time that all failing requests together may take, as a multiple of the time limit for one request."""
ANSWER_SECONDS = 75.0
"""Seconds for a request and its answer as a whole, even if a byte arrives now and then."""
BRIEF_SECONDS, BRIEF_ANSWER = 20.0, 10.0
"""The time limits of a monitor in seconds: for repeating one request, and for one answer. The first is
also the limit for all requests together that follow an interrupt, such as those that clean up."""
SLOWEST = 32 << 10
"""The slowest transfer that is accepted, in bytes per second. The time limit of a request is
extended by the time that its bytes need at this rate."""
_RANDOM = random.SystemRandom()  # without a state, so an application that seeds ``random`` is not disturbed


class Retry:
    """Decides how long requests to one storage are repeated. Safe to use from several threads.

    A request is repeated for ``seconds``, counted from its first attempt; 0 means one attempt. Once a request
    has failed for good, each later request is repeated for a tenth of that time only. Once all failed
    requests together have used up ``whole`` seconds (default: three times ``seconds``), requests are not
    repeated any more; with ``strict`` they are not even sent, but fail at once.

    ``answer_seconds`` limits the time of one attempt. ``report`` receives a sentence when repeating begins
    and when the storage answers again. ``first_pause`` is the first pause between two attempts, in seconds.
    """

    def __init__(
        self,
        seconds: float = 0,
        *,
        whole: float | None = None,
        strict: bool = False,
        answer_seconds: float = ANSWER_SECONDS,
        report: Callable[[str], None] = lambda text: None,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self.seconds = seconds
        self.answer_seconds = answer_seconds
        self._whole = WHOLE * seconds if whole is None else whole
        self._strict = strict
        self._report = report
        self._first_pause = first_pause
        self._lock = threading.Lock()
        self._wasted = 0.0
        self._reported = False

    @classmethod
    def brief(cls, seconds: float, *, report: Callable[[str], None]) -> Retry:
        """Return a ``Retry`` with the short time limits of a monitor.

        A failing request is repeated for ``seconds``. All failing requests together take about a minute at
        most; after that every request raises an error. ``report`` receives a sentence when repeating begins
        and ends.
        """
        least = min(seconds, BRIEF_SECONDS)
        return cls(least, whole=2 * least, strict=True, answer_seconds=BRIEF_ANSWER, report=report)

    def call(self, request: Callable[[], T], *, stop: Stop | None = None) -> T:
        """Call ``request`` until it succeeds, and return its result.

        Raises the ``UnreachableError`` of the last attempt when the time for repeating is over, or as soon as
        ``stop`` is set. The default is the ``Stop`` in whose ``call`` this thread is, if it is in one. With
        ``strict``, can raise an ``UnreachableError`` without calling ``request``. Any other exception is
        raised at once.
        """
        attempts = Attempts(self, stop)
        while True:
            self._require_time_left()
            try:
                result = request()
            except UnreachableError as error:
                attempts.failed(error)
            except StorageError:
                attempts.succeeded()  # a refusal is an answer
                raise
            else:
                attempts.succeeded()
                return result

    def stream(self, open_at: Callable[[int], Blocks]) -> Blocks:
        """Yield the blocks of ``open_at(0)``. If they break off, continue with ``open_at(offset)``.

        ``offset`` is the number of bytes that were yielded before. The time limit for repeated requests
        begins again with each block.
        """
        offset = 0
        attempts = Attempts(self, None)
        while True:
            self._require_time_left()
            try:
                with closing(open_at(offset)) as blocks:
                    for block in blocks:
                        offset += len(block)
                        attempts.succeeded()
                        yield block
                        attempts = Attempts(self, None)
                attempts.succeeded()  # of an empty object
                return
            except UnreachableError as error:
                attempts.failed(error)

    def allowance(self) -> float:
        """Return for how many more seconds a request that begins now may be repeated."""
        with self._lock:
            left = self._whole - self._wasted
            share = LATER_SHARE if self._wasted else 1.0
        return max(min(self.seconds * share, left), 0.0)

    def hasten(self) -> None:
        """Repeat later requests for a short time only, all together, because somebody waits for the end."""
        with self._lock:
            self._whole = min(self._whole, self._wasted + BRIEF_SECONDS)

    def give_up(self, seconds: float) -> None:
        """Record that a request has failed for good after ``seconds``."""
        with self._lock:
            self._wasted += seconds
            self._reported = False

    def _require_time_left(self) -> None:
        with self._lock:
            wasted, exhausted = self._wasted, self._strict and self._wasted > self._whole
        if exhausted:
            error = UnreachableError(
                f"No request was sent, because the storage has not answered for {_in_words(wasted)}.",
                hint="Try again when the storage answers.",
            )
            error.final = True
            raise error

    def unanswered(self, error: UnreachableError, seconds: float) -> None:
        """Report, once for each outage, that a request is repeated for up to ``seconds``."""
        with self._lock:
            reported, self._reported = self._reported, True
        if not reported:
            self._report(f"{error.what} Retrying for up to {_in_words(seconds)}.")

    def recovered(self, seconds: float) -> None:
        """Report that a request was answered after ``seconds``, if :meth:`unanswered` reported the outage."""
        with self._lock:
            reported, self._reported = self._reported, False
        if reported:
            self._report(f"The storage answers again after {_in_words(seconds)}.")


class Attempts:
    """Counts the attempts of one request and the time since the first, and pauses between them."""

    def __init__(self, retry: Retry, stop: Stop | None) -> None:
        self._retry = retry
        self._stop = stop or Stop()
        self._began = time.monotonic()
        self._count = 0
        self._pause = retry._first_pause

    def failed(self, error: UnreachableError) -> None:
        """Wait before the next attempt. Raises ``error`` if the request may not be repeated any more."""
        self._count += 1
        waited = time.monotonic() - self._began
        limit = self._retry.allowance()
        if error.final:
            raise error
        stopped = self._stop.is_set()
        if waited >= limit or stopped:
            error.final = True
            if not stopped:
                self._retry.give_up(waited)
            if self._count > 1:
                what, unchanged, hint = error.args
                error.args = (
                    f"{what} All {self._count} attempts within {_in_words(waited)} failed.",
                    unchanged,
                    hint,
                )
            raise error
        if self._count > 1:  # a single failure is not reported
            self._retry.unanswered(error, limit)
        pause = min(self._pause * _RANDOM.uniform(0.5, 1), limit - waited)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        try:
            stopped = self._stop.wait(pause)
        except BaseException:  # an interrupt
            self._retry.hasten()
            raise
        if stopped:
            error.final = True
            raise error

    def succeeded(self) -> None:
        """Record that the storage has answered the last attempt."""
        if self._count > 1:
            self._retry.recovered(time.monotonic() - self._began)
        self._count = 0


def _in_words(seconds: float) -> str:
    return duration_in_words(timedelta(seconds=max(seconds, 1)))
