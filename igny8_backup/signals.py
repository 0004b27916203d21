"""Announcements of what goes on, for projects to listen to.

:data:`phase_started` and :data:`phase_ended` are sent round each phase with ``operation`` (``backup``,
``restore`` or ``undo``), ``phase`` and ``backup_ids`` (a tuple); the second also with ``error``, the name of
the error's class or nothing. :data:`reported` is sent when a command or task that runs unattended has ended,
with ``command``, ``ok`` and ``text``: why it failed, without secrets.

A receiver that raises is logged by Django and passed over: work never depends on one.
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
    """Announces the beginning and the end of what is done inside the context."""
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
