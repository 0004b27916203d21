"""Options for the Celery workers that answer while live data is exchanged."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from igny8_backup.operations.restore.workers import IGNORE, REFUSE, STOP, STOP_SECONDS, WorkersPolicy


def add_worker_options(parser: ArgumentParser) -> None:
    """Adds ``--stop-workers``, ``--ignore-workers`` and ``--stop-timeout``."""
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument(
        "--stop-workers",
        action="store_const",
        dest="workers",
        const=STOP,
        default=REFUSE,
        help="Let Celery workers that answer finish what they run, and stop them.",
    )
    workers.add_argument(
        "--ignore-workers",
        action="store_const",
        dest="workers",
        const=IGNORE,
        help="Go on though Celery workers answer.",
    )
    parser.add_argument(
        "--stop-timeout",
        type=_seconds,
        default=STOP_SECONDS,
        metavar="SECONDS",
        help=f"With --stop-workers: how long running tasks may take; default {STOP_SECONDS}.",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ArgumentTypeError(f"{text} is no number of seconds.")
    return seconds


def policy_of(options: dict[str, Any]) -> WorkersPolicy:
    """What the options say."""
    return WorkersPolicy(
        mode=options["workers"], seconds=options["stop_timeout"], purge=options.get("purge_queue", False)
    )
