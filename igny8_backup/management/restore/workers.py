"""Options for the Celery workers that answer while live data is replaced."""

from __future__ import annotations

from argparse import ArgumentParser, _MutuallyExclusiveGroup
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.management.base import seconds
from igny8_backup.operations.restore.workers import IGNORE, REFUSE, STOP, STOP_SECONDS, WorkersPolicy


def add_worker_options(parser: ArgumentParser) -> _MutuallyExclusiveGroup:
    """Add ``--stop-workers``, ``--ignore-workers`` and ``--stop-timeout``; return the group of the first two,
    to which a command may add what excludes both."""
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument(
        "--stop-workers",
        action="store_const",
        dest="workers",
        const=STOP,
        default=REFUSE,
        help="Let Celery workers finish their current tasks, then stop them.",
    )
    workers.add_argument(
        "--ignore-workers",
        action="store_const",
        dest="workers",
        const=IGNORE,
        help="Continue although Celery workers answer.",
    )
    parser.add_argument(
        "--stop-timeout",
        type=seconds,
        metavar="SECONDS",
        help=f"With --stop-workers: how long running tasks may take. Default: {STOP_SECONDS}.",
    )
    return workers


def worker_policy(options: dict[str, Any]) -> WorkersPolicy:
    """Return the policy that the options describe. Raises ``UsageError`` for ``--stop-timeout`` alone."""
    given = options["stop_timeout"]
    if given is not None and options["workers"] != STOP:
        raise UsageError(
            "--stop-timeout needs --stop-workers.",
            unchanged="Nothing was changed.",
            hint="Add --stop-workers, or remove --stop-timeout.",
        )
    return WorkersPolicy(
        mode=options["workers"],
        seconds=STOP_SECONDS if given is None else given,
        purge=options.get("purge_queue", False),
    )
