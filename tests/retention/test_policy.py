"""The retention plan, compared with a model that examines each copy separately."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.retention.policy import Backup, Part, Plan, plan
from igny8_backup.retention.rules import DEFAULT, PERIODS, Policy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DATABASE = Part(host="web-1", kind="database", name="default")
UPLOADS = Part(host="web-1", kind="files", name="uploads")
ELSEWHERE = Part(host="web-2", kind="files", name="uploads")
PARTS = (DATABASE, UPLOADS, ELSEWHERE)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER_OF: dict[str, Callable[[datetime], int]] = {
    "hourly": lambda moment: (moment - EPOCH) // timedelta(hours=1),
    "daily": lambda moment: (moment - EPOCH) // timedelta(days=1),
    # 5 January 1970 was a Monday.
    "weekly": lambda moment: (moment - EPOCH - timedelta(days=4)) // timedelta(weeks=1),
    "monthly": lambda moment: moment.year * 12 + moment.month,
    "yearly": lambda moment: moment.year,
}
"""For each rule, the period of a time in UTC, computed by arithmetic."""

counts = st.sampled_from([0, 0, 0, 1, 2, 4])
policies = st.builds(
    Policy,
    last=counts,
    within=st.sampled_from(
        [timedelta(), timedelta(), timedelta(hours=5), timedelta(days=3), timedelta(days=400)]
    ),
    hourly=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    yearly=counts,
)
# Close together and far apart, round the turn of years, some after NOW; by clocks of several zones.
moments = st.builds(
    lambda days, minutes, hours: (NOW - timedelta(days=days, minutes=minutes)).astimezone(
        timezone(timedelta(hours=hours))
    ),
    st.one_of(st.integers(-2, 12), st.integers(0, 1500)),
    st.integers(0, 3000),
    st.integers(-11, 13),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Backup]:
    """Generate backups in any order, each with some of the parts, some of them pinned."""
    return [
        Backup(
            id=f"{number:06}",
            started=started,
            parts=tuple(draw(st.lists(st.sampled_from(PARTS), unique=True))),
            held=draw(st.sampled_from(["", "", "", "pinned"])),
        )
        for number, started in enumerate(draw(st.lists(moments, max_size=12)))
    ]


@st.composite
def sharing_histories(draw: st.DrawFn) -> list[Backup]:
    """Generate backups whose copies share objects with others if they have a letter in common."""
    letters = st.sampled_from(["", "a", "b", "ab"]).map(frozenset)
    return [replace(item, sources=dict.fromkeys(PARTS, draw(letters))) for item in draw(histories())]


@st.composite
def doubtful_histories(draw: st.DrawFn) -> list[Backup]:
    """Generate backups some of whose copies cannot be relied on."""
    return [
        replace(item, unfit={part: "damaged" for part in item.parts if draw(st.booleans())})
        for item in draw(histories())
    ]


def stays(copy: Backup, part: Part, backups: list[Backup], policy: Policy, now: datetime) -> bool:
    """The model: return whether the policy keeps one copy of a part."""

    def rank(item: Backup) -> tuple[datetime, str]:
        return item.started, item.id

    rivals = [item for item in backups if part in item.parts and item.started <= now]
    newer = [item for item in rivals if rank(item) > rank(copy)]
    if not newer or len(newer) < policy.last:
        return True
    if policy.within and copy.started >= now - policy.within:
        return True
    for rule, number_of in NUMBER_OF.items():
        mine = number_of(copy.started.astimezone(UTC))
        theirs = {number_of(item.started.astimezone(UTC)) for item in newer}
        of_mine = [item for item in rivals if number_of(item.started.astimezone(UTC)) == mine]
        chosen = max(of_mine, key=rank) if rule == "hourly" else min(of_mine, key=rank)
        if chosen is copy and len(theirs - {mine}) < getattr(policy, rule):
            return True
    return False


def kept(found: Plan) -> set[str]:
    return {verdict.id for verdict in found.verdicts if verdict.keep}


@given(histories(), policies, st.sets(st.sampled_from(PARTS)))
def test_plan_equals_that_of_the_model(backups: list[Backup], policy: Policy, failing: set[Part]) -> None:
    found = plan(backups, policy, NOW, failing=failing)
    expected = {
        item.id
        for item in backups
        if item.started > NOW
        or item.held
        or any(part in failing or stays(item, part, backups, policy, NOW) for part in item.parts)
    }
    assert kept(found) == expected
    assert {verdict.id for verdict in found.verdicts} == {item.id for item in backups}
    for verdict in found.verdicts:
        assert verdict.keep == bool(verdict.reasons or any(copy.reasons for copy in verdict.copies))
    assert set(found.to_remove) == {item.id for item in backups} - expected


def copies(found: Plan) -> dict[tuple[str, Part], tuple[str, ...]]:
    """The reasons to keep each copy."""
    return {(verdict.id, copy.part): copy.reasons for verdict in found.verdicts for copy in verdict.copies}


def without(backups: list[Backup], *, keep: Backup | None = None) -> list[Backup]:
    """The same backups without their unfit copies; those of ``keep`` are fit."""
    return [
        replace(item, unfit={})
        if item is keep
        else replace(item, parts=tuple(part for part in item.parts if part not in item.unfit), unfit={})
        for item in backups
    ]


@given(doubtful_histories(), policies)
def test_plan_unfit_copies_change_nothing_for_fit_ones(backups: list[Backup], policy: Policy) -> None:
    found, alone = copies(plan(backups, policy, NOW)), copies(plan(without(backups), policy, NOW))
    for (backup_id, part), reasons in alone.items():
        blocked = [reason for reason in found[backup_id, part] if reason.startswith("blocked")]
        mine = tuple(
            "newest" if reason == "newest good copy" else reason for reason in found[backup_id, part]
        )
        assert mine == reasons and not blocked


@given(doubtful_histories(), policies)
def test_plan_keeps_unfit_copy_as_long_as_if_it_were_fit(backups: list[Backup], policy: Policy) -> None:
    found = copies(plan(backups, policy, NOW))
    for item in backups:
        for part in item.unfit:
            only = [replace(one, parts=(part,)) for one in without(backups, keep=item) if part in one.parts]
            as_fit = copies(plan(only, policy, NOW))[item.id, part]
            assert bool(found[item.id, part]) == bool(as_fit) or "blocked" in str(found[item.id, part])


@given(doubtful_histories(), policies)
def test_plan_keeps_newest_fit_copy_of_each_part(backups: list[Backup], policy: Policy) -> None:
    staying = kept(plan(backups, policy, NOW))
    for part in PARTS:
        found = [item for item in backups if part in item.parts and item.started <= NOW]
        fit = [item for item in found if part not in item.unfit]
        if fit:
            assert max(fit, key=lambda item: (item.started, item.id)).id in staying
        else:
            assert {item.id for item in found} <= staying, "nobody knows which one is the best"


@given(histories(), policies)
def test_plan_keeps_newest_complete_copy_of_each_part(backups: list[Backup], policy: Policy) -> None:
    staying = kept(plan(backups, policy, NOW))
    for part in PARTS:
        found = [item for item in backups if part in item.parts and item.started <= NOW]
        if found:
            assert max(found, key=lambda item: (item.started, item.id)).id in staying


@given(sharing_histories(), policies)
def test_plan_applied_twice_deletes_nothing_more(backups: list[Backup], policy: Policy) -> None:
    staying = kept(plan(backups, policy, NOW))
    left = [item for item in backups if item.id in staying]
    assert plan(left, policy, NOW).to_remove == ()


@given(histories(), policies, st.data())
def test_plan_pin_keeps_one_backup_and_changes_nothing_else(
    backups: list[Backup], policy: Policy, data: st.DataObject
) -> None:
    free = [replace(item, held="") for item in backups]
    before = kept(plan(free, policy, NOW))
    if free:
        pinned = data.draw(st.sampled_from(free))
        after = [replace(item, held="pinned") if item == pinned else item for item in free]
        assert kept(plan(after, policy, NOW)) == before | {pinned.id}


@given(histories(), policies, st.lists(st.integers(301, 10**6), max_size=5))
def test_plan_future_backups_displace_none(backups: list[Backup], policy: Policy, seconds: list[int]) -> None:
    forged = [
        Backup(id=f"forged {number}", started=NOW + timedelta(seconds=after), parts=PARTS)
        for number, after in enumerate(seconds)
    ]
    found = plan(backups + forged, policy, NOW)
    assert kept(found) == kept(plan(backups, policy, NOW)) | {item.id for item in forged}
    assert {item.id for item in forged} <= set(found.future)


@given(histories(), policies)
def test_plan_does_not_depend_on_order(backups: list[Backup], policy: Policy) -> None:
    assert plan(backups, policy, NOW) == plan(list(reversed(backups)), policy, NOW)


def backup(days: float, *parts: Part, held: str = "") -> Backup:
    started = NOW - timedelta(days=days)
    return Backup(id=f"{days:g} days", started=started, parts=parts or (DATABASE,), held=held)


def reasons(found: Plan) -> dict[str, list[str]]:
    return {
        verdict.id: [*verdict.reasons, *(text for copy in verdict.copies for text in copy.reasons)]
        for verdict in found.verdicts
    }


def test_plan_gives_reasons_for_each_backup() -> None:
    policy = Policy(last=2, within=timedelta(days=1), weekly=2, yearly=1)
    found = plan([backup(0), backup(1), backup(2), backup(7), backup(8, held="pinned")], policy, NOW)
    assert reasons(found) == {
        "0 days": ["newest", "last 1 of 2", "within 1 day"],
        "1 days": ["last 2 of 2", "within 1 day"],
        "2 days": ["weekly 2026-W47"],
        "7 days": [],
        "8 days": ["pinned", "weekly 2026-W46", "yearly 2026"],
    }
    assert found.to_remove == ("7 days",)


@pytest.mark.parametrize(
    ("started", "bucket"),
    [
        (datetime(2027, 1, 1, tzinfo=UTC), "2026-W53"),
        (datetime(2024, 12, 30, tzinfo=UTC), "2025-W01"),
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-W48"),
    ],
)
def test_weekly_period_follows_iso_8601(started: datetime, bucket: str) -> None:
    assert PERIODS["weekly"](started) == bucket


def test_plan_failing_part_blocks_only_its_copies() -> None:
    policy = Policy(last=1)
    backups = [backup(0, DATABASE, UPLOADS), backup(1, DATABASE), backup(2, UPLOADS)]
    found = plan(backups, policy, NOW, failing={UPLOADS})
    assert found.to_remove == ("1 days",)
    (blocked,) = found.blocked
    assert (blocked.part, blocked.reason) == (UPLOADS, "its newest run failed")
    assert reasons(found)["2 days"] == ["blocked: its newest run failed"]


def test_plan_without_recent_copy_deletes_nothing() -> None:
    backups = [backup(3, DATABASE, UPLOADS), backup(4, DATABASE), backup(5, UPLOADS)]
    limits = {DATABASE: timedelta(days=2), UPLOADS: None}
    found = plan(backups, Policy(last=1), NOW, max_age=limits.get)
    assert found.to_remove == ("5 days",)
    (blocked,) = found.blocked
    assert (blocked.part, blocked.reason) == (
        DATABASE,
        "its newest complete copy is 3 days old, more than 2 days",
    )
    assert plan(backups, Policy(last=1), NOW, max_age=lambda part: timedelta(days=3)).blocked == ()


def test_plan_backup_without_complete_part_is_deleted() -> None:
    hollow = Backup(id="hollow", started=NOW - timedelta(days=1))
    assert plan([hollow, backup(2)], Policy(last=1), NOW).to_remove == ("hollow",)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "keep nothing"),
        ({"daily": 0, "within": timedelta()}, "keep nothing"),
        ({"dayly": 7}, "'dayly' is not one of last, within, hourly, daily, weekly, monthly, yearly"),
        ({"daily": "7"}, "not of type int"),
        ({"daily": True}, "not of type int"),
        ({"daily": -1}, "which is negative"),
        ({"within": 7}, "not of type timedelta"),
        ({"within": timedelta(days=-1)}, "which is negative"),
    ],
)
def test_policy_with_invalid_values_raises(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Policy.of(values)


def test_policy_of_reads_the_setting() -> None:
    given_policy = Policy.of({"within": timedelta(days=2), "daily": 7})
    assert given_policy == Policy(within=timedelta(days=2), daily=7)
    assert Policy.of({"last": 3, "daily": 14, "weekly": 8, "monthly": 12}) == DEFAULT


def test_plan_keeps_newest_copies_proven_by_drills() -> None:
    backups = [backup(days) if days % 2 else replace(backup(days), proven=True) for days in range(1, 9)]
    found = plan(backups, Policy(last=1, proven=2), NOW)
    kept = {item.id: item.copies[0].reasons for item in found.verdicts if item.keep}
    proven = [backups[1].id, backups[3].id]
    assert set(kept) == {backups[0].id, *proven}
    assert [kept[name] for name in proven] == [("proven 1 of 2",), ("proven 2 of 2",)]


def test_plan_keeps_a_copy_that_shares_no_object_with_the_newest() -> None:
    """Dumps in chunks of three weeks: each needs the packs of the full dump of its week."""

    def dump(days: int, unfit: str = "") -> Backup:
        week = f"week {days // 7}"
        made = replace(backup(days), sources={DATABASE: frozenset({week, f"{days} days"})})
        return replace(made, unfit={DATABASE: unfit}) if unfit else made

    backups = [dump(days, "damaged" if days in (0, 7) else "") for days in range(21)]
    found = plan(backups, Policy(last=2), NOW)
    assert reasons(found)["8 days"] == ["shares no object with the newest"]
    assert kept(found) == {"0 days", "1 days", "2 days", "8 days"}
    whole = replace(backups[1], sources={})
    assert kept(plan([whole, *backups[2:]], Policy(last=1), NOW)) == {"1 days"}, "it shares nothing"


def test_plan_two_newest_damaged_keeps_the_last_good_copy() -> None:
    newest, second, sound, old = (backup(days) for days in (0, 1, 2, 3))
    damaged = [replace(item, unfit={DATABASE: "damaged: x is altered"}) for item in (newest, second)]
    found = plan([*damaged, sound, old], Policy(last=2), NOW)
    assert reasons(found) == {
        "0 days": ["newest", "last 1 of 2"],
        "1 days": ["newest", "last 1 of 2"],
        "2 days": ["newest good copy", "last 1 of 2"],
        "3 days": ["last 2 of 2"],
    }
    assert found.verdicts[0].copies[0].unfit == "damaged: x is altered"


def test_plan_last_good_copy_stays_though_no_rule_covers_it() -> None:
    policy = Policy(within=timedelta(days=3))
    suspects = [replace(backup(days), unfit={DATABASE: "suspect"}) for days in range(6)]
    found = plan([*suspects, backup(10), backup(11)], policy, NOW)
    assert found.to_remove == ("11 days",)
    assert reasons(found)["10 days"] == ["newest good copy"]


def test_plan_old_unfit_copy_goes_when_the_policy_would_let_it_go() -> None:
    bad = replace(backup(5), unfit={DATABASE: "damaged"})
    found = plan([backup(0), backup(1), bad, backup(6)], Policy(last=2), NOW)
    assert found.to_remove == ("6 days", "5 days")


def test_plan_without_fit_copy_removes_nothing() -> None:
    bad = [replace(backup(days), unfit={DATABASE: "damaged"}) for days in range(4)]
    found = plan(bad, Policy(last=1), NOW)
    assert found.to_remove == ()
    (blocked,) = found.blocked
    assert blocked.reason == "none of its copies can be relied on"


def test_plan_newest_good_copy_too_old_blocks() -> None:
    suspect = replace(backup(0), unfit={DATABASE: "suspect"})
    found = plan([suspect, backup(3), backup(4)], Policy(last=1), NOW, max_age=lambda part: timedelta(days=2))
    assert found.to_remove == ()
    (blocked,) = found.blocked
    assert blocked.reason == "its newest good copy is 3 days old, more than 2 days"


def test_plan_damaged_proven_copy_counts_for_no_rule() -> None:
    bad = replace(backup(1), proven=True, unfit={DATABASE: "damaged"})
    found = plan([backup(0), bad, replace(backup(2), proven=True)], Policy(proven=1), NOW)
    assert reasons(found)["2 days"] == ["proven 1 of 1"]


HOURLY = Policy(last=3, hourly=48, daily=14, weekly=8, monthly=12)


def hourly_runs(hours: int, first: datetime) -> list[Backup]:
    return [
        Backup(id=f"{number:06}", started=first + timedelta(hours=number), parts=(DATABASE,))
        for number in range(hours)
    ]


def test_plan_copy_chosen_for_a_day_or_longer_stays_chosen() -> None:
    runs = hourly_runs(24 * 75, datetime(2026, 9, 1, 0, 20, tzinfo=UTC))
    stored: list[Backup] = []
    chosen: dict[str, str] = {}
    for start in range(0, len(runs), 24):
        stored += runs[start : start + 24]
        found = plan(stored, HOURLY, stored[-1].started)
        stored = [item for item in stored if item.id in kept(found)]
        for verdict in found.verdicts:
            for reason in verdict.copies[0].reasons:
                if reason.startswith(("daily", "weekly", "monthly")):
                    assert chosen.setdefault(reason, verdict.id) == verdict.id, reason
    of_days = [item for item in stored if item.started < stored[-1].started - timedelta(days=3)]
    assert {item.started.hour for item in of_days} == {0}, "only the first run of a day lives for weeks"
    assert len(stored) <= 3 + 48 + 14 + 8 + 12


@given(doubtful_histories(), policies)
def test_plan_later_backup_of_the_same_day_displaces_no_daily_copy(
    backups: list[Backup], policy: Policy
) -> None:
    before = plan(backups, policy, NOW)
    days = {
        (verdict.id, copy.part)
        for verdict in before.verdicts
        for copy in verdict.copies
        if any(reason == f"daily {NOW:%Y-%m-%d}" for reason in copy.reasons)
    }
    after = copies(plan([*backups, Backup(id="z", started=NOW, parts=PARTS)], policy, NOW))
    assert all(any(reason.startswith("daily") for reason in after[one]) for one in days)
