"""Write results as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.contest import Contestant, Results, Target

README = ROOT / "benchmarks" / "README.md"
MIB = 2**20
_MORE = " | memory MiB | RSS MiB | largest child, RSS MiB | scratch MB |"
_RATIOS = "| ours | against | | ratio | without Django's start | target | |"


def markdown(results: Results, targets: Sequence[Target]) -> str:
    """Return two tables: the measurements, and the requested ratios."""
    lines = [
        f"### {results.title}",
        "",
        f"| | wall s | lowest to highest | CPU s | of the machine | {results.stored} MB{_MORE}",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(results, one) for one in results.contestants if one.key in results.runs),
        "",
    ]
    lines += [f"Not measured: {name} ({reason})." for name, reason in results.absent.items()]
    if compared := [line for target in targets if (line := _compared(results, target))]:
        lines += ["", _RATIOS, "|---|---|---|---|---|---|---|", *compared, ""]
    return "\n".join(lines)


def _row(results: Results, one: Contestant) -> str:
    runs = results.runs[one.key]
    walls = sorted(run.measured.wall for run in runs)
    stored = runs[-1].stored
    child = max(runs, key=lambda run: run.measured.child_peak).measured
    title = one.title + (f" ({one.note})" if one.note else "")
    cells = [
        title if len(runs) > 1 else f"{title}, one run",
        f"{results.median(one.key, lambda run: run.measured.wall):.2f}",
        f"{walls[0]:.2f} to {walls[-1]:.2f}",
        f"{results.median(one.key, lambda run: run.measured.cpu):.1f}",
        f"{results.median(one.key, lambda run: run.measured.machine):.1f}",
        "" if stored is None else f"{stored / 1e6:,.1f}",
        f"{max(run.measured.memory for run in runs) / MIB:.0f}",
        f"{max(run.measured.peak for run in runs) / MIB:.0f}",
        f"{child.child} {child.child_peak / MIB:.0f}" if child.child else "",
        f"{max(run.measured.scratch for run in runs) / 1e6:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def closing_lines(facts: Mapping[str, str], scale: str, rounds: int) -> str:
    """Return the machine and the scale of the measurements."""
    rough = "" if scale == "full" else "**Small data: this shows that it runs, the ratios mean nothing.**\n\n"
    listed = ", ".join(f"{name}: {value}" for name, value in facts.items())
    return f"{rough}Rounds: {rounds}, {listed}.\n"


def _compared(results: Results, target: Target) -> str:
    ratio = results.ratio(target)
    if ratio is None:
        return ""
    titles = {one.key: one.title for one in results.contestants}
    apart = results.ratio(target, start_apart=True) if target.what == "wall" else None
    verdict = "met" if ratio <= target.limit else "**missed**"
    if ratio > target.limit and apart is not None and apart <= target.limit:
        verdict = "met without Django's start"
    cells = [
        titles[target.ours],
        titles[target.against],
        results.stored if target.what == "stored" else target.what,
        f"{ratio:.3f}",
        "" if apart is None else f"{apart:.3f}",
        f"at most {target.limit}",
        verdict,
    ]
    return f"| {' | '.join(cells)} |"


def as_json(
    facts: Mapping[str, str], contests: Sequence[tuple[Results, Sequence[Target]]], **more: Any
) -> str:
    """Return every measurement for JSON."""
    found: dict[str, Any] = {"machine": dict(facts), **more, "contests": []}
    for results, targets in contests:
        found["contests"].append(
            {
                "title": results.title,
                "runs": {key: [asdict(run) for run in runs] for key, runs in results.runs.items()},
                "titles": {one.key: one.title for one in results.contestants},
                "absent": results.absent,
                "targets": [
                    asdict(target)
                    | {
                        "ratio": results.ratio(target),
                        "ratio_without_start": results.ratio(target, start_apart=True)
                        if target.what == "wall"
                        else None,
                    }
                    for target in targets
                ],
            }
        )
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def write(folder: Path, name: str, text: str, data: str, *, update_readme: bool) -> None:
    """Write ``name.md`` and ``name.json``; with ``update_readme`` the section ``name`` of the README too."""
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(data, encoding="utf-8")
    print(text)
    if update_readme:
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, _, rest = README.read_text(encoding="utf-8").partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise SystemExit(f"{README} has no section {name}.")
        README.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")
