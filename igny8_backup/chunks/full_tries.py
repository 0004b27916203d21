"""Remember which runs have tried to make a full dump since the last one, and did not complete it.

The ids of these runs are in a file in ``STATE_DIR``, one for each database. The file is removed when a full
dump is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class FullTries:
    """The contents of the file: the ``ids`` of the runs that did not complete their full dump."""

    schema: int
    ids: tuple[str, ...]


def read(path: Path) -> tuple[str, ...]:
    """Return the ids of the runs that are recorded in the file ``path`` as failed attempts at a full dump.

    A missing or damaged file counts as empty, so that the next dump is a full one.
    """
    try:
        return records.from_json(FullTries, path.read_bytes(), name=str(path), schema=SCHEMA).ids
    except (OSError, IntegrityError):
        return ()


def add(path: Path, backup_id: str) -> None:
    """Add the run ``backup_id`` to the file ``path``, because it tries a full dump. Raises ``OSError``."""
    ids = dict.fromkeys((*read(path), backup_id))
    replace_file(path, records.to_json(FullTries(schema=SCHEMA, ids=tuple(ids))))
