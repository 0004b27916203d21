"""Measure this package and its peers in turn, in several rounds; compute medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Measured, Pipeline, measure, say

START = "start"
"""The key of the contestant that only starts Django."""


def _nothing() -> None: ...


def _nothing_stored() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A program to measure.

    ``prepare`` runs before each measurement and ``check`` after it; neither is measured. ``commands`` is
    called after ``prepare``. ``check`` decodes and compares the output, raises ``RunFailed`` if it differs,
    and returns the number of stored bytes, if any. ``runs`` limits the rounds of a slow program; ``django``
    means that the time includes the start of Django.
    """

    key: str
    title: str
    commands: Callable[[], Pipeline]
    env: Mapping[str, str]
    cwd: Path
    output: Path | None = None
    prepare: Callable[[], None] = _nothing
    check: Callable[[], int | None] = _nothing_stored
    runs: int | None = None
    note: str = ""
    django: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """A measurement whose output was correct."""

    round: int
    measured: Measured
    stored: int | None


@dataclass(frozen=True, kw_only=True)
class Target:
    """A limit: ``what`` (wall or stored) of ``ours`` may be at most ``limit`` times that of ``against``."""

    ours: str
    against: str
    what: str
    limit: float


@dataclass(kw_only=True)
class Results:
    """The results of a contest by key, in the order of the contestants. ``stored`` is the title of the stored
    bytes."""

    title: str
    contestants: Sequence[Contestant]
    stored: str = "stored"
    runs: dict[str, list[Run]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def median(self, key: str, value: Callable[[Run], float]) -> float:
        return statistics.median(value(run) for run in self.runs[key])

    def ratio(self, target: Target, *, start_apart: bool = False) -> float | None:
        """Return the median of the ratios of each round, or ``None`` if a contestant was not measured.

        The ratio is taken per round, because the speed of the machine varies between rounds. ``start_apart``
        subtracts the start of Django in that round from contestants that include it.
        """
        ours, theirs = self._values(target.ours, target.what), self._values(target.against, target.what)
        if start_apart:
            start = self._values(START, "wall")
            django = {one.key for one in self.contestants if one.django}
            for key, values in ((target.ours, ours), (target.against, theirs)):
                if key in django:
                    values.update({number: value - start.get(number, 0) for number, value in values.items()})
        pairs = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys()]
        return statistics.median(pairs) if pairs else None

    def _values(self, key: str, what: str) -> dict[int, float]:
        return {run.round: _value(run, what) for run in self.runs.get(key, [])}


def _value(run: Run, what: str) -> float:
    return run.measured.wall if what == "wall" else float(run.stored or 0)


def hold(
    title: str,
    contestants: Sequence[Contestant],
    rounds: int,
    *,
    stored: str = "stored",
    before: Callable[[int], None] = lambda number: None,
) -> Results:
    """Measure all contestants in each round, one after the other: A B C A B C.

    ``before`` is called with the number of each round before it starts; ``stored`` is as in the results.
    """
    say(title)
    results = Results(title=title, contestants=contestants, stored=stored)
    for number in range(1, rounds + 1):
        before(number)
        for one in contestants:
            if one.runs is not None and number > one.runs:
                continue
            one.prepare()
            measured = measure(one.commands(), env=one.env, cwd=one.cwd, output=one.output)
            size = one.check()
            results.runs.setdefault(one.key, []).append(Run(round=number, measured=measured, stored=size))
            kept = "" if size is None else f", {size / 1e6:,.1f} MB {stored}"
            memory = f"{measured.memory / 2**20:.0f} MiB"
            say(f"  round {number}: {one.title}: {measured.wall:.2f} s, {memory}{kept}")
    return results
