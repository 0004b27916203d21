"""The contents of a report. The names of the fields are the keys of ``report_backups --json``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.retention.policy import Part

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class PolicyFacts:
    """The policy in the settings of this host. Times are in seconds; ``None`` means that there is no limit.

    ``retention`` maps the rules of ``RETENTION`` to their numbers. ``locked_days`` is the number of days for
    which new objects are locked in storage; ``None`` if they are not locked.
    """

    retention: dict[str, int]
    encrypted: bool
    signatures_required: bool
    locked_days: int | None
    verified_seconds: int | None
    drilled_seconds: int | None


@dataclass(frozen=True, kw_only=True)
class KeyFact:
    """A public key. ``use`` is ``encryption``, ``signing`` (this host's own) or ``trusted``.

    ``fingerprint`` is ``SHA256:`` and a digest in Base64. For an SSH key, it is what ``ssh-keygen -l`` shows.
    For any other recipient, it is the digest of the text of the recipient.
    """

    use: str
    name: str
    fingerprint: str
    revoked: bool = False


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A time without a new recovery point that is longer than ``MAX_AGE`` allows."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class PartFacts:
    """A database or tree of an expected host, over the time of the report.

    ``copies`` are its complete copies in storage. ``newest`` is the backup with the newest copy that can be
    relied on. ``data_from`` is the time of the data in that copy, and ``bytes`` its size before compression.
    ``max_age_seconds``: see ``MAX_AGE``. ``points`` counts the recovery points, including those that
    retention has removed since. ``longest_seconds`` is the longest time without a new recovery point, up to
    now. It shows how much data a failure could have cost at most.

    ``verified`` is the time of the newest verification or drill, ``drilled`` that of the newest successful
    drill. Both ignore checks of copies that were outdated: see ``PartState.verified``. ``recovery_seconds``
    is how long the newest successful drill took in total, even if the copy was outdated.
    """

    part: Part
    copies: int
    newest: str
    data_from: datetime | None
    bytes: int | None
    max_age_seconds: int | None
    points: int
    longest_seconds: int | None
    gaps: tuple[Gap, ...]
    verified: datetime | None
    drilled: datetime | None
    recovery_seconds: int | None


@dataclass(frozen=True, kw_only=True)
class CopyFacts:
    """The copy of a database or tree in a backup. ``unfit`` lists, by kind, why it cannot be relied on."""

    kind: str
    name: str
    state: str
    bytes: int
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BackupFacts:
    """A backup in storage. ``problem`` says why its manifest cannot be read; then most facts are missing.

    ``signer`` is the name of the trusted key that signed it, or empty.
    """

    id: str
    started: datetime
    host: str = ""
    seconds: int | None = None
    copies: tuple[CopyFacts, ...] = ()
    encrypted: bool | None = None
    signer: str = ""
    stored_bytes: int | None = None
    pinned: bool = False
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckFacts:
    """The newest verification or drill of a backup at one depth. ``damaged`` counts the damaged objects.

    The check read ``read`` of the ``objects`` objects of the backup, in total ``bytes`` bytes. ``counts`` is
    false if the check is ignored, because the settings demand the signature of a trusted key and the check
    has none.
    """

    backup: str
    host: str
    depth: str
    started: datetime
    seconds: int
    parts: tuple[str, ...]
    objects: int
    read: int
    bytes: int
    damaged: int
    counts: bool


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run that did not complete. ``errors`` maps a database or tree to the class of its error."""

    id: str
    host: str
    started: datetime
    outcome: str
    requested: tuple[str, ...]
    errors: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A condition of ``monitor_backups`` that is not met."""

    name: str
    of: str
    text: str


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The report: what is in storage at the time ``created``, and what happened since ``since``.

    ``conditions`` counts the conditions that ``monitor_backups`` checked; ``findings`` are those that are not
    met. ``redacted``: the names of hosts, databases, trees and keys, and free texts, are left out.
    """

    schema: int
    created: datetime
    since: datetime
    redacted: bool
    version: str
    environment: str
    storage: str
    policy: PolicyFacts
    keys: tuple[KeyFact, ...]
    parts: tuple[PartFacts, ...]
    conditions: int
    findings: tuple[Finding, ...]
    backups: tuple[BackupFacts, ...]
    checks: tuple[CheckFacts, ...]
    failed_runs: tuple[RunFacts, ...]
