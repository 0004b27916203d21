"""The simulated month: small packs leave storage within days, as the page "Back up every hour" says."""

from __future__ import annotations

import re
from datetime import timedelta

from benchmarks.month import FIRST, simulate
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL
from tests.docs.pages import page


def test_month_of_hourly_dumps_names_small_packs_of_the_last_days_only() -> None:
    month = simulate()
    end = FIRST + timedelta(days=30)
    small = [month.made[item] for item in month.named if month.made[item].kind == INCREMENTAL]
    assert all(end - dump.started <= timedelta(days=3) for dump in small)
    kinds = (FULL, DIFFERENTIAL, INCREMENTAL)
    for item in month.kept:
        needs = [month.made[name].kind for name in month.made[item].needs]
        assert needs.count(FULL) == 1 and needs.count(DIFFERENTIAL) <= 1
    counted = [
        f"| {kind} | {month.count(tuple(month.made))[kind]} | {month.count(month.kept)[kind]} |"
        f" {month.count(month.named)[kind]} |"
        for kind in kinds
    ]
    shown = re.findall(r"^\| (?:full|differential|incremental) .*$", page("how-to/back-up-every-hour"), re.M)
    assert shown == counted
