"""The comparison of two checkouts as a table."""

from __future__ import annotations

from benchmarks.contest import Results, Run
from benchmarks.machinery import OTHER, THIS, table
from benchmarks.measure import Measured

MIB = 2**20


def run(number: int, wall: float, cpu: float, memory: int) -> Run:
    found = Measured(
        wall=wall,
        cpu=cpu,
        machine=cpu,
        memory=memory * MIB,
        memory_by={},
        peak=0,
        child="",
        child_peak=0,
        scratch=0,
    )
    return Run(round=number, measured=found, stored=None)


def test_table_compares_runs_of_the_same_round() -> None:
    runs = {
        THIS: [run(1, 1, 1, 90), run(2, 4, 1.1, 92), run(3, 3, 1.2, 91)],
        OTHER: [run(1, 2, 2, 90), run(2, 8, 2.2, 92), run(3, 6, 2.4, 91)],
    }
    lines = table(Results(title="Restore", contestants=(), runs=runs)).splitlines()
    assert lines[0] == "### Restore"
    assert f"| {THIS} | 3.00 | 1.00 | 1.10 | 1.00 | 91 | 92 |" in lines
    assert f"| {OTHER} | 6.00 | 2.00 | 2.20 | 2.00 | 91 | 92 |" in lines
    assert lines[-1] == (
        "Median over rounds of this checkout to the other: wall 0.500, cpu 0.500, memory 1.000."
    )
