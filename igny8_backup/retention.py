"""Apply the retention policy: decide which backups to keep and which to delete, with reasons.

The policy counts the complete copies of each part (a database or tree of a host). A backup is deleted if the
policy keeps none of its copies. The newest copy of a part is always kept, and every copy of a part whose
newest run failed. ``daily: 14`` keeps the newest copy of each of the 14 newest days that have one, so days
without a backup delete nothing. Days are in UTC, weeks are those of ISO 8601. ``plan`` is a pure function.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from igny8_backup.humanize import duration_in_words

PERIODS: Mapping[str, Callable[[datetime], str]] = {
    "hourly": lambda moment: f"{moment:%Y-%m-%d %H}:00",
    "daily": lambda moment: f"{moment:%Y-%m-%d}",
    "weekly": lambda moment: f"{moment:%G-W%V}",
    "monthly": lambda moment: f"{moment:%Y-%m}",
    "yearly": lambda moment: f"{moment:%Y}",
}
"""For each rule, the function that returns the period of a time in UTC."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The setting ``RETENTION``: which copies of a part (a database or tree) to keep.

    The policy keeps the ``last`` newest copies, those younger than ``within``, the newest copy of each of the
    newest ``hourly`` hours, ``daily`` days and so on, and the ``proven`` newest ones among those that a drill
    (a practice restore) has restored.
    """

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
        """Return the policy for the setting ``RETENTION``. Raises ``ValueError`` if a value is wrong."""
        known = {field.name: timedelta if field.name == "within" else int for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name!r} is not one of {', '.join(known)}")
            kind = known[name]
            if type(value) is not kind:
                raise ValueError(f"{name!r} is {value!r}, not of type {kind.__name__}")
            if value < kind():  # type: ignore[operator]  # both are of that kind
                raise ValueError(f"{name!r} is {value!r}, which is negative")
        if not any(values.values()):
            raise ValueError("it would keep nothing")
        return cls(**values)  # type: ignore[arg-type]  # each was just checked


DEFAULT = Policy(last=3, daily=14, weekly=8, monthly=12)


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """A database or tree (a folder of files) of one host. ``kind`` is ``database`` or ``files``."""

    host: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.host}"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What the retention policy needs to know about a backup.

    ``parts`` are the databases and trees that the backup has complete copies of. ``held`` is a reason to keep
    the backup whatever the policy says, for example a pin. ``proven`` means that a drill (a practice restore)
    has restored the backup.
    """

    id: str
    started: datetime
    parts: tuple[Part, ...] = ()
    held: str = ""
    proven: bool = False


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The copy of a database or tree in a backup. ``reasons`` to keep it are empty if it can be deleted."""

    part: Part
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision whether to keep a backup.

    ``reasons`` are reasons to keep the whole backup, such as a pin. Each of its ``copies`` of databases and
    trees has reasons of its own.
    """

    id: str
    started: datetime
    keep: bool
    reasons: tuple[str, ...]
    copies: tuple[Copy, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A database or tree of which every copy is kept for now, and the reason, such as a failed newest run."""

    part: Part
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a retention policy decides: a verdict for each backup, newest first.

    ``blocked`` are the databases and trees of which no copy is deleted for now. ``future`` are the ids of
    backups dated in the future.
    """

    verdicts: tuple[Verdict, ...]
    blocked: tuple[Block, ...] = ()
    future: tuple[str, ...] = ()

    @property
    def to_remove(self) -> tuple[str, ...]:
        """The ids of the backups to delete, oldest first."""
        return tuple(item.id for item in reversed(self.verdicts) if not item.keep)


def plan(
    backups: Iterable[Backup],
    policy: Policy,
    now: datetime,
    *,
    failing: Collection[Part] = (),
    max_age: Callable[[Part], timedelta | None] = lambda part: None,
) -> Plan:
    """Decide which of the ``backups`` to keep at the time ``now`` (aware).

    ``failing`` are parts (databases and trees) whose newest run failed. ``max_age`` returns how old the
    newest copy of a part may be; ``None`` allows any age. No copy of a part is deleted if the part is failing
    or its newest copy is too old. Backups dated after ``now`` are kept and not counted.
    """
    # Backups that started at the same time are sorted by id, so that the plan does not depend on the listing.
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
        reasons = [*(["dated in the future"] if future else []), *([item.held] if item.held else [])]
        copies = tuple(
            Copy(part=part, reasons=() if future else _reasons(kept[part], blocked, part, item.id))
            for part in item.parts
        )
        keep = bool(reasons) or any(copy.reasons for copy in copies)
        verdicts.append(
            Verdict(id=item.id, started=item.started, keep=keep, reasons=tuple(reasons), copies=copies)
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
    """Return, by the id of each backup, the reasons to keep its copy of one database or tree.

    ``copies`` are the backups that have such a copy, newest first.
    """
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
    for rule, period_of in PERIODS.items():
        newest: dict[str, str] = {}
        for item in copies:
            newest.setdefault(period_of(item.started.astimezone(UTC)), item.id)
        for period, backup_id in list(newest.items())[: getattr(policy, rule)]:
            found[backup_id].append(f"{rule} {period}")
    return found
