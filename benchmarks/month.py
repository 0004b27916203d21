"""Simulate a month of hourly backups without a server: which packs of chunks does storage hold at its end?

``python -m benchmarks.month`` prints, by the kind of dump that wrote them, how many dumps of the month have
packs that a kept backup names. See the page "Back up every hour".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from igny8_backup.chunks.kinds import LastDump, choose_kind
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL
from igny8_backup.retention.policy import Backup, Part, plan
from igny8_backup.retention.rules import Policy

PART = Part(host="web-1", kind="database", name="default")
POLICY = Policy(last=3, hourly=48, daily=14, weekly=8, monthly=12)
"""The retention that the page "Back up every hour" recommends."""
FIRST = datetime(2026, 9, 1, 0, 15, tzinfo=UTC)
PRUNED_AT = 3
"""The hour after whose backup ``prune_backups`` runs."""


@dataclass(frozen=True)
class Dump:
    """A dump of the month. ``needs`` are the ids of the dumps whose packs it names, with its own."""

    id: str
    started: datetime
    kind: str
    needs: frozenset[str]


@dataclass(frozen=True)
class Month:
    """The end of the month: the dumps that were made, were kept, and have packs that are named."""

    made: dict[str, Dump]
    kept: tuple[str, ...]
    named: frozenset[str]

    def count(self, ids: tuple[str, ...] | frozenset[str]) -> Counter[str]:
        """Return how many of the dumps ``ids`` there are of each kind."""
        return Counter(self.made[item].kind for item in ids)


def simulate(*, days: int = 30, policy: Policy = POLICY, full_every: timedelta = timedelta(days=7)) -> Month:
    """Make a dump every hour for ``days``, and prune once a day, as ``hourly_schedule()`` does."""
    made: dict[str, Dump] = {}
    kept: list[str] = []
    last: Dump | None = None
    full = differential = ""
    today: list[str] = []
    for hour in range(24 * days):
        now = FIRST + timedelta(hours=hour)
        known = LastDump(started=last.started, full_started=made[full].started) if last else None
        choice, name = choose_kind(now, known, full_every=full_every), f"{now:%m-%d %H}"
        if choice.kind == FULL:
            full, differential, today = name, "", []
        elif choice.kind == DIFFERENTIAL:
            differential, today = name, []
        elif choice.kind == INCREMENTAL:
            today = [*today, name]
        needs = frozenset(filter(None, (full, differential, *today)))
        last = made[name] = Dump(name, now, choice.kind, needs)
        kept.append(name)
        if now.hour == PRUNED_AT:
            backups = [Backup(id=item, started=made[item].started, parts=(PART,)) for item in kept]
            removed = set(plan(backups, policy, now).to_remove)
            kept = [item for item in kept if item not in removed]
    named = frozenset[str]().union(*(made[item].needs for item in kept))
    return Month(made, tuple(kept), named)


def main() -> None:
    """Print the table."""
    month = simulate()
    made, kept, named = (month.count(ids) for ids in (tuple(month.made), month.kept, month.named))
    print(f"{'kind':<14}{'made':>8}{'kept':>8}{'with packs that are named':>28}")
    for kind in (FULL, DIFFERENTIAL, INCREMENTAL):
        print(f"{kind:<14}{made[kind]:>8}{kept[kind]:>8}{named[kind]:>28}")


if __name__ == "__main__":
    main()
