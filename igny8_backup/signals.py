"""Django signals that a project can receive.

:data:`phase_started` and :data:`phase_ended` are sent before and after each phase of a backup, restore or
undo. Their arguments are ``operation`` (``backup``, ``restore`` or ``undo``), ``phase`` and ``backup_ids`` (a
tuple). ``phase_ended`` also has ``error``: the name of the exception's class, or empty after a success.

:data:`reported` is sent when an unattended command or task has ended. Its arguments are ``command``, ``ok``
and ``text``. After a failure, ``text`` is the reason, without secrets.

If a receiver raises, Django logs the exception and the operation continues.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.dispatch import Signal

phase_started = Signal()
phase_ended = Signal()
reported = Signal()

BACKUP, RESTORE, UNDO = "backup", "restore", "undo"


@contextmanager
def announced(operation: str, phase: str, backup_ids: tuple[str, ...]) -> Iterator[None]:
    """Send :data:`phase_started` before the block and :data:`phase_ended` after it.

    ``operation``, ``phase`` and ``backup_ids`` are arguments of both signals.
    """
    facts = {"operation": operation, "phase": phase, "backup_ids": backup_ids}
    phase_started.send_robust(sender=None, **facts)
    error = ""
    try:
        yield
    except BaseException as caught:
        error = type(caught).__name__
        raise
    finally:
        phase_ended.send_robust(sender=None, error=error, **facts)
