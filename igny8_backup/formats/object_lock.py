"""S3 Object Lock: which objects are locked, and until when.

A locked object cannot be deleted or altered before a date. Run records, claims of the lock in the storage,
annotations (such as pins) and the marks on orphans are never locked, because they are written again or
deleted with their backup. Source: Amazon S3 User Guide, "Locking objects with Object Lock".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from igny8_backup.formats import keys

GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"
MODES = (GOVERNANCE, COMPLIANCE)
"""Who may remove a lock early: users with the right s3:BypassGovernanceRetention, or nobody."""
MARGIN = timedelta(days=7)
"""Locks last this much longer than ``days``. Without the margin, every backup would have to extend the lock
of each older object that it needs; with it, such a lock is extended about once a week."""
LONGEST_DAYS = 3650


@dataclass(frozen=True)
class ObjectLock:
    """How the objects of backups in a storage are locked: in which ``mode``, and for how many ``days``."""

    mode: str
    days: int

    def until(self, now: datetime) -> datetime:
        """Return until when an object that is written or extended ``now`` is locked."""
        return now.replace(microsecond=0) + timedelta(days=self.days) + MARGIN

    def is_short(self, until: datetime | None, now: datetime) -> bool:
        """Return whether a lock that ends at ``until`` (``None``: no lock) has to be extended ``now``."""
        return until is None or until < now + timedelta(days=self.days)


def is_locked_key(key: str) -> bool:
    """Return whether an object with this key is locked.

    Packs and their lists are locked, and so are the objects in the folder of a backup. Annotations and their
    signatures are not locked, because they are written again.
    """
    if key.startswith(keys.PACKS):
        return True
    if not key.startswith(keys.BACKUPS):
        return False
    parsed = keys.parse(key)
    if parsed and parsed.kind == "signature":
        return parsed.name == "manifest"  # the others belong to pins and the like, which are not locked
    return parsed is None or parsed.kind not in keys.ANNOTATIONS
