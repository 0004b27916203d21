"""The record that somebody has accepted suspect copies, and that later copies were judged again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.formats.comparison import Baseline


@dataclass(frozen=True, kw_only=True)
class AcceptedPart:
    """A database or tree whose suspect copy somebody accepted. ``kind`` is ``database`` or ``files``."""

    kind: str
    name: str
    reason: str
    accepted: datetime


@dataclass(frozen=True, kw_only=True)
class JudgedPart:
    """A copy of a database or tree that was judged again, because an acceptance of an earlier copy changed.

    ``baseline`` is the copy with which it was compared; it replaces the baseline in the manifest.
    """

    kind: str
    name: str
    baseline: Baseline


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """The suspect copies in a backup that somebody has accepted: see :mod:`igny8_backup.standing`.

    ``judged`` are copies in the backup that were judged again. ``manifest_sha256`` is the digest of the
    manifest of the backup.
    """

    schema: int
    id: str
    parts: tuple[AcceptedPart, ...] = ()
    judged: tuple[JudgedPart, ...] = ()
    manifest_sha256: str = ""
