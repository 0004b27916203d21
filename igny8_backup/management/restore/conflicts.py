"""Options that mean nothing in what was asked for: refused, as whoever gave one meant something by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igny8_backup.errors import UsageError
from igny8_backup.operations.restore.workers import IGNORE, STOP, STOP_SECONDS

WORKERS = ("--stop-workers", "--ignore-workers", "--stop-timeout")
"""They are for what exchanges live data."""
LIVE = (*WORKERS, "--purge-queue", "--assume-space", "--database-name", "--wait")
"""They are for a restore that swaps databases in."""
WAIT = ("--wait",)
"""It is for what keeps other runs out."""
DATABASE = ("--no-owner", "--locale")
"""They are for a database that is made."""
FILES = ("--allow-set-id",)
"""It is for files that are brought back."""


def require_no_wait(options: Mapping[str, Any]) -> None:
    """Raises :class:`UsageError` for ``--wait`` beside ``--dry-run``."""
    if options["dry_run"]:
        require_none_of(options, WAIT, beside="--dry-run", why="it keeps nobody out and waits for nobody")


def require_none_of(options: Mapping[str, Any], unheeded: tuple[str, ...], *, beside: str, why: str) -> None:
    """Raises :class:`UsageError` for the first of ``unheeded`` that was given: ``beside`` is the option that
    leaves it without a meaning, ``why`` says so."""
    given = {
        "--stop-workers": options.get("workers") == STOP,
        "--ignore-workers": options.get("workers") == IGNORE,
        "--stop-timeout": options.get("stop_timeout", STOP_SECONDS) != STOP_SECONDS,
        "--purge-queue": options.get("purge_queue"),
        "--assume-space": options.get("assume_space") is not None,
        "--database-name": options.get("database_name"),
        "--wait": options.get("wait"),
        "--no-owner": not options.get("owners", True),
        "--locale": options.get("locale"),
        "--allow-set-id": options.get("allow_set_id"),
    }
    for option in unheeded:
        if given[option]:
            raise UsageError(
                f"{option} means nothing beside {beside}: {why}.",
                unchanged="Nothing was changed.",
                hint="Leave one of the two away.",
            )
