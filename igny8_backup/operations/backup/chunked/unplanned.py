"""Find unplanned full dumps: those that were made although no full dump was due.

One can happen, but several mean that ``STATE_DIR`` is lost between the runs, or objects in the storage.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from igny8_backup.conf import Config
from igny8_backup.formats.chunked import FULL, ChunkedDump
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.parts.database import DatabasePart

FULL_DUMP = "full dump"
"""The name of the helper step that is reported."""


def unplanned_fulls(parts: Iterable[DatabasePart], now: datetime, config: Config) -> list[ChunkedDump]:
    """Return the full dumps made in the last ``FULL_EVERY`` although none was due.

    ``parts`` are dumps of one database.
    """
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
    """Return a sentence about a second unplanned full dump, made for ``reason``, and what to do."""
    return (
        f"full dumps were made twice although none was due: on {earlier.full_started:%Y-%m-%d %H:%M} UTC"
        f" because {earlier.reason}, and now because {reason}. Each stores the whole database. If a"
        " map is missing, IGNY8_BACKUP['STATE_DIR'] must persist: in a container, put it on a volume. If"
        " packs are missing or damaged, find out what removes or alters objects in the storage."
    )
