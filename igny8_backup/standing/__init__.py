"""The standing of copies: whether a copy of a database or tree can be relied on, and if not, why.

:func:`judge` is the entry point. A copy is unfit in each of these cases:

* It is damaged (``damage``).
* It is suspect, and nobody has accepted it. A copy is suspect if it shrank (``sizes``), or if it comes from
  another database server or an older state of the schema (``sources``), compared with an earlier copy
  (``baselines``).
* No trusted key signed its backup, although ``TRUSTED`` is set.
* It is dated in the future.
* Its backup is a safety copy, which was made before a restore in place.

Retention does not count unfit copies: they satisfy no rule, and no other copy is deleted because of them. A
restore uses an unfit copy only if the user names its backup. The package reads no storage and no clock. It
imports ``formats``, ``retention`` and ``common``.
"""

from __future__ import annotations

from igny8_backup.standing.baselines import record_baselines
from igny8_backup.standing.judge import Shrink, judge, judge_again
from igny8_backup.standing.result import (
    DAMAGED,
    FUTURE,
    MIGRATIONS,
    SAFETY,
    SERVER,
    SIZE,
    SUSPECT,
    UNTRUSTED,
    CopyStanding,
    Reason,
    Standings,
)

__all__ = [
    "DAMAGED",
    "FUTURE",
    "MIGRATIONS",
    "SAFETY",
    "SERVER",
    "SIZE",
    "SUSPECT",
    "UNTRUSTED",
    "CopyStanding",
    "Reason",
    "Shrink",
    "Standings",
    "judge",
    "judge_again",
    "record_baselines",
]
