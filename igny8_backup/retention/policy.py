"""Apply the retention policy: decide which backups to keep and which to delete, with reasons.

The policy counts the complete copies of each part (a database or tree of a host). A backup is deleted if the
policy keeps none of its copies. The newest copy of a part is always kept. If the newest run of a part failed,
all copies of the part are kept. ``daily: 14`` keeps the oldest copy of each of the 14 newest days that have a
copy, so a day without a backup causes no deletion. ``hourly`` keeps the newest copy of each hour. Days are in
UTC, weeks are those of ISO 8601. ``plan`` is a pure function.

Dumps in chunks share objects. If the newest fit copy of a database shares objects, the newest fit copy that
shares none with it is kept too, so that the loss of one object never costs all copies.

Unfit copies (see :mod:`igny8_backup.standing`) are not counted: they satisfy no rule, and no other copy is
deleted because of them. Each is kept as long as the policy would keep it if it were fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.common.humanize import duration_in_words
from igny8_backup.retention.rules import OLDEST, PERIODS, Policy


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Part:
    """A database or tree (a folder of files) of one host. ``kind`` is ``database`` or ``files``."""

    host: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.host}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """What the retention policy needs to know about a backup.

    ``parts`` are the databases and trees that the backup has complete copies of. ``unfit`` maps those whose
    copy cannot be relied on to the reason. ``held`` is a reason to keep the backup whatever the policy says,
    for example a pin. ``proven`` means that a drill (a practice restore) has restored all of the backup;
    ``proven_parts`` are the parts that some drill has restored. ``sources`` maps the databases whose dumps
    are in chunks to the ids of the runs that wrote the packs. Copies with different sources share no object.
    """

    id: str
    started: datetime
    parts: tuple[Part, ...] = ()
    held: str = ""
    proven: bool = False
    unfit: Mapping[Part, str] = field(default_factory=dict)
    proven_parts: frozenset[Part] = frozenset()
    sources: Mapping[Part, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """The copy of a database or tree in a backup. ``reasons`` to keep it are empty if it can be deleted.

    ``unfit`` says why the copy cannot be relied on; empty if it can. An unfit copy has the ``reasons`` that
    it would have if it were fit.
    """

    part: Part
    reasons: tuple[str, ...]
    unfit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
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
    """A database or tree whose copies are all kept for now. ``reason`` says why, such as a failed run."""

    part: Part
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a retention policy decides: a verdict for each backup, newest first.

    ``blocked`` are the databases and trees whose copies are all kept for now. ``future`` are the ids of
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
    stopped: Mapping[Part, str] | None = None,
    max_age: Callable[[Part], timedelta | None] = lambda part: None,
) -> Plan:
    """Decide which of the ``backups`` to keep at the time ``now`` (aware).

    No copy of a part is deleted in three cases: ``stopped`` maps the part to a reason; the part is in
    ``failing``, because its newest run failed; or the part has no fit copy that is as young as ``max_age``
    demands (``None``: any age will do). Backups dated after ``now`` are kept and not counted.
    """
    # Backups that started at the same time are sorted by id, so that the plan does not depend on the listing.
    ordered = sorted(backups, key=lambda item: (item.started, item.id), reverse=True)
    past = [item for item in ordered if not is_ahead(item.started, now)]
    series: defaultdict[Part, list[Backup]] = defaultdict(list)
    for item, part in ((one, each) for one in past for each in one.parts):
        series[part].append(item)
    blocked = {
        part: reason
        for part, copies in sorted(series.items())
        if (reason := _blocked(part, copies, now, failing, max_age(part)) or (stopped or {}).get(part, ""))
    }
    kept = {part: _kept(part, copies, policy, now) for part, copies in series.items()}
    for part, reason in blocked.items():
        for item in series[part]:
            kept[part][item.id].append(f"blocked: {reason}")
    verdicts = []
    for item in ordered:
        future = is_ahead(item.started, now)
        reasons = [*(["dated in the future"] if future else []), *([item.held] if item.held else [])]
        why = {part: () if future else tuple(kept[part][item.id]) for part in item.parts}
        copies = tuple(
            Copy(part=part, reasons=found, unfit=item.unfit.get(part, "")) for part, found in why.items()
        )
        keep = bool(reasons) or any(why.values())
        verdicts.append(
            Verdict(id=item.id, started=item.started, keep=keep, reasons=tuple(reasons), copies=copies)
        )
    return Plan(
        verdicts=tuple(verdicts),
        blocked=tuple(Block(part=part, reason=reason) for part, reason in blocked.items()),
        future=tuple(item.id for item in ordered if is_ahead(item.started, now)),
    )


_Kept = defaultdict[str, list[str]]


def _blocked(
    part: Part, copies: list[Backup], now: datetime, failing: Collection[Part], most: timedelta | None
) -> str:
    if part in failing:
        return "its newest run failed"
    newest = next((item for item in copies if part not in item.unfit), None)
    if newest is None:
        return "none of its copies can be relied on"
    if most is not None and now - newest.started > most:
        age, limit = (duration_in_words(age, units=2) for age in (now - newest.started, most))
        kind = "complete" if newest is copies[0] else "good"
        return f"its newest {kind} copy is {age} old, more than {limit}"
    return ""


def _kept(part: Part, copies: list[Backup], policy: Policy, now: datetime) -> _Kept:
    """Return, by the id of each backup, the reasons to keep its copy of ``part``.

    ``copies`` are the backups that have such a copy, newest first. The reasons for a copy depend only on the
    fit copies that are newer and, for the rules in ``OLDEST``, on the oldest fit copy of the same period. An
    unfit copy gets the reasons that it would have if it were fit.
    """
    found: _Kept = defaultdict(list)
    if apart := independent_copy(part, copies):
        found[apart.id].append("shares no object with the newest")
    periods_of = list(map(_periods, copies))
    oldest = _oldest(part, copies, periods_of)
    newer = newer_proven = 0
    periods: dict[str, set[str]] = {rule: set() for rule in PERIODS}
    passed: set[str] = set()
    for item, named in zip(copies, periods_of, strict=True):
        fit, reasons = part not in item.unfit, found[item.id]
        if newer == 0:
            reasons.append("newest good copy" if fit and item is not copies[0] else "newest")
        if newer < policy.last:
            reasons.append(f"last {newer + 1} of {policy.last}")
        if policy.within and now - item.started <= policy.within:
            reasons.append(f"within {duration_in_words(policy.within, units=2)}")
        proven = item.proven or part in item.proven_parts
        if proven and newer_proven < policy.proven:
            reasons.append(f"proven {newer_proven + 1} of {policy.proven}")
        for rule, period in named.items():
            first = oldest.get((rule, period))
            # The newest fit copy of an hour is chosen, and the oldest fit copy of a longer period.
            chosen = (
                first in (None, item.id) or first in passed if rule in OLDEST else period not in periods[rule]
            )
            others = len(periods[rule]) - (period in periods[rule])
            if chosen and others < getattr(policy, rule):
                reasons.append(f"{rule} {period}")
        if fit:
            newer, newer_proven = newer + 1, newer_proven + proven
            for rule, period in named.items():
                periods[rule].add(period)
            passed.add(item.id)
    return found


def independent_copy(part: Part, copies: Iterable[Backup]) -> Backup | None:
    """Return the newest fit copy of ``part`` that shares no object with the newest fit copy.

    ``copies`` are sorted newest first. Returns ``None`` if there is no such copy, or if the newest fit copy
    shares its objects with no other backup.
    """
    fit = [item for item in copies if part not in item.unfit]
    if not fit or not (sources := fit[0].sources.get(part)):
        return None
    return next((item for item in fit[1:] if not sources & item.sources.get(part, frozenset())), None)


def _periods(item: Backup) -> dict[str, str]:
    """Return, for each rule, the period in which a backup was made."""
    return {rule: period_of(item.started.astimezone(UTC)) for rule, period_of in PERIODS.items()}


def _oldest(part: Part, copies: list[Backup], periods_of: list[dict[str, str]]) -> dict[tuple[str, str], str]:
    """Map each rule and period to the id of the oldest backup in the period that has a fit copy.

    ``copies`` are sorted newest first, and ``periods_of`` are the :func:`_periods` of each.
    """
    found = zip(copies, periods_of, strict=True)
    return {period: item.id for item, named in found if part not in item.unfit for period in named.items()}
