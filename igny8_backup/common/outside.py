"""Recognize exceptions from outside that are no failure of the work: time limits, shutdowns, no memory.

Task queues end a job by raising an exception in it at any moment. Several of the exceptions' classes derive
from ``Exception``, so handlers of failures must let them pass: use :func:`is_from_outside` there.
"""

from __future__ import annotations

_STOPPERS = {
    ("billiard", "SoftTimeLimitExceeded"),  # Celery
    ("billiard", "TimeLimitExceeded"),
    ("celery", "SoftTimeLimitExceeded"),
    ("rq", "BaseTimeoutException"),
    ("rq", "JobTimeoutException"),
    ("rq", "ShutDownImminentException"),
    ("django_q", "TimeoutException"),
    ("django_q", "TimeoutHandler"),
    ("dramatiq", "Interrupt"),
    ("gevent", "Timeout"),
    ("eventlet", "Timeout"),
}
"""The package and the name of the classes with which workers end a job."""


def is_from_outside(error: BaseException) -> bool:
    """Return whether ``error`` ends the work from outside, rather than being a failure of the work.

    Three kinds do so: exceptions that do not derive from ``Exception``, such as ``KeyboardInterrupt``;
    ``MemoryError``; and those with which Celery, RQ, django-q, dramatiq, gevent or eventlet ends a job.
    """
    if not isinstance(error, Exception) or isinstance(error, MemoryError):
        return True
    return any(
        (kind.__module__.partition(".")[0], kind.__name__) in _STOPPERS for kind in type(error).__mro__
    )
