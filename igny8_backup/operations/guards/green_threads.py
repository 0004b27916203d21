"""Refuse to run in a process whose threads and pipes eventlet has replaced: the originals are needed."""

from __future__ import annotations

import sys

from igny8_backup.errors import RefusedError


def refuse_eventlet(what: str, hint: str) -> None:
    """Raise ``RefusedError`` if eventlet has replaced the threads of this process.

    ``what`` names the process, such as "This worker"; ``hint`` says what to do. Eventlet also removes
    ``select.poll``, without which the output of child processes cannot be read. gevent does no harm.
    """
    patcher = sys.modules.get("eventlet.patcher")
    if patcher and patcher.is_monkey_patched("thread"):
        raise RefusedError(
            f"{what} uses eventlet, whose green threads cannot run backups.",
            unchanged="Nothing was read or written.",
            hint=hint,
        )
