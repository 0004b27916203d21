"""The goals of ``benchmarks.stored``, on a small scale."""

from __future__ import annotations

from benchmarks.stored_goals import most_requests, verdicts


def test_verdicts_compare_each_operation_with_its_goal() -> None:
    assert most_requests(100_000) == 150
    found = {
        "list": {"seconds": 2.0, "requests": {"list": 100}},
        "monitor": {"seconds": 2.0, "requests": {"list": 100, "open": 51}},
        "objects": 100_000,
        "peak MiB": 151,
    }
    lines = list(verdicts({"again": found}, 100_000))
    assert [line.split()[-1] for line in lines] == ["met", "MISSED", "MISSED"]
    assert "100 requests (at most 150)" in lines[0] and "2.00 s (at most 3)" in lines[0]
