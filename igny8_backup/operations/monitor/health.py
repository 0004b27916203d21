"""The result of monitoring: conditions that hold or fail, and figures for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.formats.chunked import ChunkedDump
from igny8_backup.operations.notify.alarms import Alarm
from igny8_backup.retention.policy import Part


@dataclass(frozen=True)
class Condition:
    """One checked property, such as the age of a database's backup.

    ``of`` names what was checked, such as a database, a host or a copy. ``ok``: the check has passed.
    ``text`` explains the result.
    """

    name: str
    of: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class PartCopy:
    """The copy of a database or tree in one backup.

    ``bytes`` is its size before compression. ``full``: every file of the tree was stored again. ``verified``
    is the start of the newest verification or drill of the part, ``drilled`` that of its newest successful
    drill. Both can be checks of an earlier copy; they are ``None`` if there was no check. ``data_time`` is
    the time of the data if the database was dumped from a standby, else ``None``. ``chunked`` describes a
    dump in chunks; it is ``None`` for all other copies.
    """

    part: Part
    backup_id: str
    started: datetime
    bytes: int
    full: bool
    verified: datetime | None = None
    drilled: datetime | None = None
    data_time: datetime | None = None
    chunked: ChunkedDump | None = None

    @property
    def as_of(self) -> datetime:
        """The time of the data. A standby may show data from long before the backup."""
        return min(self.data_time, self.started) if self.data_time else self.started


@dataclass(frozen=True, kw_only=True)
class Health:
    """The result of :func:`monitor`: all conditions, and figures for metrics (``None`` if unknown).

    ``newest`` are the newest good copies of all databases and trees of the expected hosts. ``retired`` are
    the hosts that are not expected to make backups. ``backups`` is the number of backups, ``stored_bytes``
    their size in storage, ``checked`` the start of the newest verification or drill.
    """

    now: datetime
    conditions: tuple[Condition, ...]
    newest: tuple[PartCopy, ...] = ()
    retired: tuple[str, ...] = ()
    backups: int | None = None
    stored_bytes: int | None = None
    checked: datetime | None = None

    @property
    def failed(self) -> tuple[Condition, ...]:
        return tuple(item for item in self.conditions if not item.ok)

    @property
    def alarms(self) -> list[Alarm]:
        """An alarm for each failed condition.

        Alarms contain no ages and sizes: an alarm that changes would be new, and each new alarm is mailed.
        """
        return [Alarm(f"{item.name}, {item.of}", "failed") for item in self.failed]

    def problems(self) -> list[str]:
        """Return one line for each condition that failed."""
        return [f"FAILED {item.name}, {item.of}: {item.text}" for item in self.failed]
