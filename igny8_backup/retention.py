"""Which backups stay and which go: (backups, policy, now) -> a plan with the reasons (law 8).

What is counted are complete copies of a part (a database, a tree), each host's by themselves; a backup goes
when none of its copies is kept. A rule like ``daily: 14`` keeps the newest copy of each of the 14 newest days
that have one: days without a backup push nothing out. Days are those of UTC, weeks those of ISO 8601.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from igny8_backup.humanize import duration_in_words

BUCKETS: Mapping[str, Callable[[datetime], str]] = {
    "hourly": lambda moment: f"{moment:%Y-%m-%d %H}:00",
    "daily": lambda moment: f"{moment:%Y-%m-%d}",
    "weekly": lambda moment: f"{moment:%G-W%V}",
    "monthly": lambda moment: f"{moment:%Y-%m}",
    "yearly": lambda moment: f"{moment:%Y}",
}
"""Rule -> the bucket that a moment in UTC falls into."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How many to keep: the ``last`` ones, all ``within`` a time, one of each of so many hours, days, ...;
    of those that a drill has restored the ``proven`` newest."""

    last: int = 0
    within: timedelta = timedelta()
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    proven: int = 0

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Policy:
        """The policy of the setting ``RETENTION``. Raises ``ValueError`` saying what is wrong with it."""
        known = {field.name: timedelta if field.name == "within" else int for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name!r} is none of {', '.join(known)}")
            kind = known[name]
            if type(value) is not kind:
                raise ValueError(f"{name!r} is {value!r}, not of type {kind.__name__}")
            if value < kind():  # type: ignore[operator]  # both are of that kind
                raise ValueError(f"{name!r} is {value!r}, less than nothing")
        if not any(values.values()):
            raise ValueError("it would keep nothing")
        return cls(**values)  # type: ignore[arg-type]  # each was just checked


DEFAULT = Policy(last=3, daily=14, weekly=8, monthly=12)


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """A series of copies: ``kind`` is ``database`` or ``files``."""

    host: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.host}"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What is known of one backup. ``parts`` are those that it holds complete; ``held`` says why it stays
    whatever the policy says: it is pinned, or unreadable. ``proven``: a drill has restored it."""

    id: str
    started: datetime
    parts: tuple[Part, ...] = ()
    held: str = ""
    proven: bool = False


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One part in one backup, and what keeps it; without reasons nothing does."""

    part: Part
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a backup stays, and why: ``reasons`` are of the backup as a whole, each copy has its own."""

    id: str
    started: datetime
    keep: bool
    reasons: tuple[str, ...]
    copies: tuple[Copy, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of which nothing goes at present, and why."""

    part: Part
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every backup, newest first; what is blocked; the ids that are dated in the future."""

    verdicts: tuple[Verdict, ...]
    blocked: tuple[Block, ...] = ()
    future: tuple[str, ...] = ()

    @property
    def going(self) -> tuple[str, ...]:
        """The ids of what goes, the oldest first."""
        return tuple(item.id for item in reversed(self.verdicts) if not item.keep)


def plan(
    backups: Iterable[Backup],
    policy: Policy,
    now: datetime,
    *,
    failing: Collection[Part] = (),
    max_age: Callable[[Part], timedelta | None] = lambda part: None,
) -> Plan:
    """What to do with ``backups`` at ``now`` (aware).

    ``failing`` are parts whose newest run failed. ``max_age`` tells how old the newest copy of a part may be,
    ``None`` for any age. Of a part that fails either nothing goes. What is dated after ``now`` neither counts
    nor goes.
    """
    # Of two that began at one instant the id decides, so that the plan does not depend on the listing.
    ordered = sorted(backups, key=lambda item: (item.started, item.id), reverse=True)
    past = [item for item in ordered if item.started <= now]
    series: defaultdict[Part, list[Backup]] = defaultdict(list)
    for item in past:
        for part in item.parts:
            series[part].append(item)
    blocked = {
        part: reason
        for part, copies in sorted(series.items())
        if (reason := _blocked(part, copies[0], now, failing, max_age(part)))
    }
    kept = {part: _kept(copies, policy, now) for part, copies in series.items()}
    verdicts = []
    for item in ordered:
        future = item.started > now
        whole = [*(["dated in the future"] if future else []), *([item.held] if item.held else [])]
        copies = tuple(
            Copy(part=part, reasons=() if future else _reasons(kept[part], blocked, part, item.id))
            for part in item.parts
        )
        keep = bool(whole) or any(copy.reasons for copy in copies)
        verdicts.append(
            Verdict(id=item.id, started=item.started, keep=keep, reasons=tuple(whole), copies=copies)
        )
    return Plan(
        verdicts=tuple(verdicts),
        blocked=tuple(Block(part=part, reason=reason) for part, reason in blocked.items()),
        future=tuple(item.id for item in ordered if item.started > now),
    )


def _blocked(
    part: Part, newest: Backup, now: datetime, failing: Collection[Part], most: timedelta | None
) -> str:
    if part in failing:
        return "its newest run failed"
    if most is not None and now - newest.started > most:
        age, limit = (duration_in_words(age, units=2) for age in (now - newest.started, most))
        return f"its newest complete copy is {age} old, more than {limit}"
    return ""


def _reasons(
    kept: Mapping[str, list[str]], blocked: Mapping[Part, str], part: Part, backup_id: str
) -> tuple[str, ...]:
    found = kept.get(backup_id, [])
    return (*found, f"blocked: {blocked[part]}") if part in blocked else tuple(found)


def _kept(copies: list[Backup], policy: Policy, now: datetime) -> dict[str, list[str]]:
    """Backup id -> why its copy of a part is kept; ``copies`` are the newest first."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    found[copies[0].id].append("newest")
    for number, item in enumerate(copies[: policy.last], start=1):
        found[item.id].append(f"last {number} of {policy.last}")
    for item in copies:
        if policy.within and now - item.started <= policy.within:
            found[item.id].append(f"within {duration_in_words(policy.within, units=2)}")
    proven = [item.id for item in copies if item.proven]
    for number, backup_id in enumerate(proven[: policy.proven], start=1):
        found[backup_id].append(f"proven {number} of {policy.proven}")
    for rule, bucket_of in BUCKETS.items():
        newest: dict[str, str] = {}
        for item in copies:
            newest.setdefault(bucket_of(item.started.astimezone(UTC)), item.id)
        for bucket, backup_id in list(newest.items())[: getattr(policy, rule)]:
            found[backup_id].append(f"{rule} {bucket}")
    return found
