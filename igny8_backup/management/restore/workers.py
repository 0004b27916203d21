"""Options that say what to do with Celery workers that run while live data is replaced."""

from __future__ import annotations

from argparse import ArgumentParser, _MutuallyExclusiveGroup
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.management.base import seconds
from igny8_backup.operations.restore.workers import IGNORE, REFUSE, STOP, STOP_SECONDS, WorkersPolicy


def add_worker_options(parser: ArgumentParser) -> _MutuallyExclusiveGroup:
    """Add ``--stop-workers``, ``--ignore-workers`` and ``--stop-timeout``.

    Returns the group of ``--stop-workers`` and ``--ignore-workers``, so that a command can add to the group
    another option that cannot be combined with these two.
    """
    workers = parser.add_mutually_exclusive_group()
    workers.set_defaults(workers=REFUSE)
    text = "Let Celery workers finish their current tasks, then stop them."
    workers.add_argument("--stop-workers", action="store_const", dest="workers", const=STOP, help=text)
    text = "Continue although workers are running."
    workers.add_argument("--ignore-workers", action="store_const", dest="workers", const=IGNORE, help=text)
    text = f"With --stop-workers: how long running tasks may take. Default: {STOP_SECONDS}."
    parser.add_argument("--stop-timeout", type=seconds, metavar="SECONDS", help=text)
    return workers


def worker_policy(options: dict[str, Any]) -> WorkersPolicy:
    """Return what to do with running Celery workers.

    Raises ``UsageError`` for ``--stop-timeout`` without ``--stop-workers``.
    """
    given = options["stop_timeout"]
    if given is not None and options["workers"] != STOP:
        hint = "Add --stop-workers, or remove --stop-timeout."
        raise UsageError("--stop-timeout needs --stop-workers.", hint=hint)
    timeout, purge = STOP_SECONDS if given is None else given, options.get("purge_queue", False)
    return WorkersPolicy(mode=options["workers"], seconds=timeout, purge=purge)
