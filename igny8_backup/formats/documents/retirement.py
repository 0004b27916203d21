"""The record that a host was taken out of service, so that no backups of it are expected any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Retirement:
    """The record that the host ``host`` is retired, and why.

    ``last_run`` is the start of the newest run that the host had then. The retirement ends when the host runs
    a backup again. Otherwise somebody could store an old record again, to hide that the host has stopped.
    """

    schema: int
    host: str
    reason: str
    retired: datetime
    last_run: datetime
