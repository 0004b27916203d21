"""Full dumps before their time: one can happen, but several mean that ``STATE_DIR`` does not last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from igny8_backup.conf import Config
from igny8_backup.formats.chunked import FULL, ChunkedDump
from igny8_backup.formats.manifest import COMPLETE, DatabasePart

FULL_DUMP = "full dump"
"""The name of the helper step that is reported."""


def unplanned_fulls(parts: Iterable[DatabasePart], now: datetime, config: Config) -> list[ChunkedDump]:
    """Return the full dumps before their time in the last ``FULL_EVERY``, among ``parts`` of one database."""
    return [
        part.chunked
        for part in parts
        if part.state == COMPLETE
        and part.chunked
        and part.chunked.kind == FULL
        and part.chunked.reason
        and now - part.started <= config.full_every
    ]


def repeated_text(earlier: ChunkedDump, reason: str) -> str:
    """Return a sentence about the second full dump before its time, made for ``reason``, and what to do."""
    return (
        f"full dumps were made before their time again: on {earlier.full_started:%Y-%m-%d %H:%M} UTC because"
        f" {earlier.reason}, and now because {reason}. Each stores the whole database. In a container, put"
        " IGNY8_BACKUP['STATE_DIR'] on a volume."
    )
