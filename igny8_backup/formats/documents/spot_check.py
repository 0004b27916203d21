"""The record of a spot check, which compares what is live with a backup.

It can be read without a key, so it contains numbers, but no names of files or tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

UNPROVEN = "unproven"
"""The cause of an alarm that is raised because a stored spot check is missing or proves nothing."""


@dataclass(frozen=True, kw_only=True)
class SpotFinding:
    """An alarm of ``spot_check`` for a database or tree, found at the time ``found``.

    ``kind`` is ``database`` or ``files``. ``cause`` is ``UNPROVEN`` or one of the causes in
    ``operations.spot_check.judge``. ``text`` contains numbers, but no names.
    """

    kind: str
    name: str
    cause: str
    text: str
    found: datetime


@dataclass(frozen=True, kw_only=True)
class SpotCheck:
    """The newest comparison of the live data on ``host`` with the backup ``id``.

    ``findings`` are the alarms of this comparison, and those of earlier comparisons with the same backup that
    have not been accepted. ``manifest_sha256`` is the digest of the manifest of the backup.
    """

    schema: int
    id: str
    host: str
    started: datetime
    finished: datetime
    findings: tuple[SpotFinding, ...] = ()
    manifest_sha256: str = ""
