"""The trees and changes of ``benchmarks.cases``, on a small scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cases_data
from benchmarks.cases_data import CASES, look
from benchmarks.cases_peers import KINDS
from benchmarks.machine import PROGRAMS
from benchmarks.options import QUICK

pytestmark = pytest.mark.slow


def test_cases_report_the_version_of_each_peer() -> None:
    assert {kind.needs for kind in KINDS} <= PROGRAMS.keys()


def test_cases_change_what_their_titles_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes, size in (
        (cases_data.SITES, 12),
        (cases_data.EMPTY, 12),
        (cases_data.CHAINS, 1),
        (cases_data.LARGE, 2 << 20),
        (cases_data.LOG, 2 << 20),
    ):
        monkeypatch.setitem(sizes, QUICK, size)
    for case in CASES:
        root = tmp_path / case.key
        case.make(root, QUICK)
        assert look(root)
        for title, change in case.changes:
            for number in (1, 2):
                before = look(root)
                change(root, number)
                after = look(root)
                digests = [sorted(one[0] for one in found.values()) for found in (before, after)]
                assert after != before, (title, number)
                assert (digests[0] == digests[1]) is not ("grew" in title or "places" in title)
                assert (before.keys() == after.keys()) is ("renamed" not in title)
