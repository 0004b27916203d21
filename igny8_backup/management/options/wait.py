"""The option ``--wait``: how long a command waits for another run to end."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, _MutuallyExclusiveGroup
from collections.abc import Mapping
from typing import Any

from igny8_backup.management.base import seconds
from igny8_backup.operations.locking.lock_wait import UNATTENDED_WAIT


def add_wait_argument(parser: ArgumentParser | _MutuallyExclusiveGroup, *, unattended: bool = False) -> None:
    """Add ``--wait SECONDS``: how long the command waits for another run to end before it fails.

    ``unattended`` is for commands that cron starts: their default depends on whether there is a terminal. See
    :func:`wait_of`.
    """
    text = "Wait up to this long for another run to end. Default: fail at once."
    if unattended:
        text = f"{text[:-1]} on a terminal, wait {UNATTENDED_WAIT // 3600} hours elsewhere."
    default = None if unattended else 0
    parser.add_argument("--wait", type=seconds, default=default, metavar="SECONDS", help=text)


def wait_of(options: Mapping[str, Any]) -> float:
    """Return how many seconds to wait for another run to end.

    The default is 0 on a terminal, and ``UNATTENDED_WAIT`` without one.
    """
    if options["wait"] is not None:
        return float(options["wait"])
    return 0.0 if sys.stdin is not None and sys.stdin.isatty() else UNATTENDED_WAIT
