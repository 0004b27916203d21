"""The runs that tried to make the full dump that is due, and did not complete it: a file in ``STATE_DIR``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from igny8_backup.common.filesystem import replace_file
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import records

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class FullTries:
    """The ``ids`` of the runs. The file is removed when a full dump is complete."""

    schema: int
    ids: tuple[str, ...]


def read(path: Path) -> tuple[str, ...]:
    """Return the ids of the runs. A missing or damaged file has none, so that the next dump is a full one."""
    try:
        return records.from_json(FullTries, path.read_bytes(), name=str(path), schema=SCHEMA).ids
    except (OSError, IntegrityError):
        return ()


def add(path: Path, backup_id: str) -> None:
    """Add the run ``backup_id``, if it is not there. Raises ``OSError``."""
    ids = dict.fromkeys((*read(path), backup_id))
    replace_file(path, records.to_json(FullTries(schema=SCHEMA, ids=tuple(ids))))
