"""``python -m benchmarks.cases``: compare backups of unusual trees and changes with those of peers.

Each backup is followed by an extraction that is not measured; contents, modes and times are compared with
the tree before a time counts.
"""

from __future__ import annotations

import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import options as common
from benchmarks import report
from benchmarks.cases_data import CASES, Case, look
from benchmarks.cases_peers import KINDS, CasePeer
from benchmarks.contest import Contestant, Results, Target, hold
from benchmarks.machine import facts, versions_of
from benchmarks.measure import Pipeline, RunFailed, run
from benchmarks.project import Project, bytes_in
from benchmarks.server import KeptServer
from benchmarks.sites_changes import SETTLED
from benchmarks.sites_checks import FilesCheck

AGAINST_RESTIC = (
    Target(ours="ours", against="restic", what="wall", limit=0.7),
    Target(ours="ours", against="restic", what="stored", limit=1.2),
)
ONLY_WALL = AGAINST_RESTIC[:1]

Contests = list[tuple[Results, tuple[Target, ...]]]


class CaseField:
    """The contests about one tree. Each continues with the backups that the previous one left."""

    def __init__(self, case: Case, peers: list[CasePeer], root: Path, rounds: int, settled: float) -> None:
        self.case = case
        self.peers = peers
        self.root = root
        self.rounds = rounds
        self.settled = settled
        self.target = root.with_name("extracted")
        self._sizes: dict[str, int] = {}

    def hold_all(self) -> Contests:
        """Measure first backups, a backup after each change, and for some trees how a backup is read."""
        first = hold(f"{self.case.title}: first backup", self.backups(fresh=True), self.rounds)
        found: Contests = [(first, AGAINST_RESTIC)]
        for title, change in self.case.changes:
            before = partial(self.change, change)
            contest = hold(title, self.backups(fresh=False), self.rounds, stored="added", before=before)
            found.append((contest, AGAINST_RESTIC))
        if not self.case.reading:
            return found
        name = min(path for path, (digest, _, _) in look(self.root).items() if digest)
        title = f"{self.case.title}: extraction of one file"
        found.append((hold(title, self.extractions(name), self.rounds), ONLY_WALL))
        title = f"{self.case.title}: verification of all contents"
        found.append((hold(title, self.verifications(), self.rounds), ONLY_WALL))
        return found

    def change(self, change: Callable[[Path, int], None], number: int) -> None:
        change(self.root, number)
        time.sleep(self.settled)  # until programs trust that a file no longer changes

    def backups(self, *, fresh: bool) -> list[Contestant]:
        return [
            self.contestant(
                peer,
                peer.title,
                peer.backup,
                prepare=peer.fresh if fresh else partial(self.note_size, peer),
                check=partial(self.check_backup, peer, fresh),
                output=peer.output,
            )
            for peer in self.peers
        ]

    def extractions(self, name: str) -> list[Contestant]:
        return [
            self.contestant(
                peer,
                peer.title,
                partial(peer.extract, self.target, name),
                prepare=self.target.mkdir,
                check=partial(self.check_extracted, peer, name),
            )
            for peer in self.peers
        ]

    def verifications(self) -> list[Contestant]:
        return [self.contestant(peer, peer.verifying, peer.verify) for peer in self.peers if peer.verifying]

    def contestant(
        self,
        peer: CasePeer,
        title: str,
        commands: Callable[[], Pipeline],
        *,
        prepare: Callable[[], None] = lambda: None,
        check: Callable[[], int | None] = lambda: None,
        output: Path | None = None,
    ) -> Contestant:
        return Contestant(
            key=peer.key,
            title=title,
            commands=commands,
            env=peer.env,
            cwd=peer.project.folder,
            output=output,
            prepare=prepare,
            check=check,
            note="" if title == peer.verifying else peer.note,
            django=peer.django,
        )

    def note_size(self, peer: CasePeer) -> None:
        self._sizes[peer.key] = bytes_in(peer.stored)

    def check_backup(self, peer: CasePeer, fresh: bool) -> int:
        """Extract the whole backup and compare it with the tree; return the bytes that were added."""
        added = bytes_in(peer.stored) - (0 if fresh else self._sizes[peer.key])
        peer.note_backup()
        self.target.mkdir()
        _run_pipeline(peer.extract(self.target), peer)
        self.compare(peer)
        return added

    def check_extracted(self, peer: CasePeer, name: str) -> None:
        self.compare(peer, name)

    def compare(self, peer: CasePeer, name: str = "") -> None:
        wanted, found = look(self.root), look(peer.extracted(self.target))
        if name:
            wanted, found = {name: wanted[name]}, {path: one for path, one in found.items() if one[0]}
        if found != wanted:
            differing = sorted({path for path, _ in found.items() ^ wanted.items()})
            raise RunFailed(f"{peer.title}: {len(differing)} paths differ: {differing[:3]}")
        shutil.rmtree(self.target)


def _run_pipeline(pipeline: Pipeline, peer: CasePeer) -> None:
    if len(pipeline) == 1:
        run(pipeline[0], env=peer.env, cwd=peer.project.folder)
        return
    # The shell joins the programs; pipefail makes every failure count.
    words = " | ".join(f'"${{@:{start}:{count}}}"' for start, count in _ranges(pipeline))
    flat = [word for argv in pipeline for word in argv]
    run(("bash", "-o", "pipefail", "-c", words, "bash", *flat), env=peer.env, cwd=peer.project.folder)


def _ranges(pipeline: Pipeline) -> list[tuple[int, int]]:
    """Return where the words of each program begin, counted from 1, and how many it has."""
    found, start = [], 1
    for argv in pipeline:
        found.append((start, len(argv)))
        start += len(argv)
    return found


def measured(options: Namespace) -> Contests:
    found: Contests = []
    with common.work_folder(options) as work, KeptServer(options.postgresql, work) as server:
        url = server.database("benchmark_empty", None)
        for case in CASES:
            if options.only and case.key not in options.only:
                continue
            folder = work / "cases"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            root, listing = folder / case.key, folder / "listing"
            case.make(root, common.scale(options))
            listing.touch()
            time.sleep(options.settled)
            project = Project(folder / "ours", database_url=url, bin_dir=server.bin_dir, sites=root)
            files = FilesCheck(listing)
            peers = [kind(project, root, files) for kind in KINDS if shutil.which(kind.needs)]
            try:
                found += CaseField(case, peers, root, options.runs, options.settled).hold_all()
            finally:
                shutil.rmtree(folder)
            for kind in KINDS:
                if not shutil.which(kind.needs):
                    found[0][0].absent[kind.title] = "not installed"
    return found


def main() -> None:
    parser = common.parser(__doc__)
    keys = [case.key for case in CASES]
    parser.add_argument("--only", action="append", choices=keys, help="Measure this tree only. Repeatable.")
    parser.add_argument("--settled", type=float, default=SETTLED, help="Seconds to wait after a change.")
    options = parser.parse_args()
    for program in ("age", "zstd", "tar"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is needed for the comparison.")
    machine = facts()
    contests = measured(options)
    machine |= versions_of(("age", "zstd", "tar", "rsync", "restic", "borg"))
    text = "\n".join(report.markdown(results, targets) for results, targets in contests)
    text += "\n" + report.closing_lines(machine, common.scale(options), options.runs)
    data = report.as_json(machine, contests, scale=common.scale(options))
    report.write(common.out_folder(options), "cases", text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
