"""``python -m benchmarks.sites``: compare backups and restores of a tree of files with those of peers."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import options as common
from benchmarks import report, sites_data
from benchmarks.contest import START, Contestant, Results, Target, hold
from benchmarks.machine import facts, versions_of
from benchmarks.measure import Pipeline, measure, say
from benchmarks.project import DJANGO_START, Project, bytes_in
from benchmarks.server import KeptServer
from benchmarks.sites_changes import nights, put_back
from benchmarks.sites_checks import FilesCheck
from benchmarks.sites_peers import Borg, MediaBackup, Ours, Peer, Programs, Restic, Tar

FIRST_TARGETS = (
    Target(ours="ours", against="tar", what="wall", limit=1.4),
    Target(ours="ours", against="restic", what="wall", limit=0.45),
    Target(ours="ours", against="restic", what="stored", limit=0.92),
    Target(ours="ours", against="mediabackup", what="wall", limit=0.1),
)
RESTORE_TARGETS = (Target(ours="ours", against="restic", what="wall", limit=0.55),)
UNCHANGED_TARGETS = (
    Target(ours="ours", against="restic", what="wall", limit=0.25),
    Target(ours="ours", against="borg", what="wall", limit=0.2),
)
CHANGED_TARGETS = (
    Target(ours="ours", against="restic", what="wall", limit=0.25),
    Target(ours="ours", against="restic", what="stored", limit=0.75),
)

Contests = list[tuple[Results, Sequence[Target]]]


class Field:
    """The contests between the peers. Each continues with the state that the previous one left."""

    def __init__(self, peers: Sequence[Peer], options: Namespace) -> None:
        self.peers = peers
        self.options = options
        self.project = peers[0].project
        self.files = peers[0].files
        self.target = self.project.folder / "restored"
        self._sizes: dict[str, int] = {}

    def hold_all(self) -> Contests:
        """Run all contests: first backups, restores, and backups without and with changes."""
        rounds = self.options.runs
        first = hold("First backup of a tree of files", self.firsts(), rounds)
        for peer in self.peers:
            if peer.is_kept and peer.key not in first.runs:
                self.inventory(peer)
        restored = hold("Restore of a tree of files", self.restores(), rounds)
        unchanged = hold("A night in which nothing changed", self.again(), rounds, stored="added")
        with nights(self.peers[0].root, self.files.wanted) as found:
            title = "A night in which 1 % changed, 0.5 % was new and 0.2 % gone"
            changed = hold(title, self.again(), rounds, stored="added", before=found.work)
        return [
            (first, FIRST_TARGETS),
            (unchanged, UNCHANGED_TARGETS),
            (changed, CHANGED_TARGETS),
            (restored, RESTORE_TARGETS),
        ]

    def firsts(self) -> list[Contestant]:
        found = [self.start()]
        for peer in self.peers:
            found.append(
                self.contestant(
                    peer,
                    peer.title,
                    peer.backup,
                    prepare=peer.fresh,
                    check=partial(self.check_first, peer),
                    output=peer.output,
                    slow=peer.slow,
                )
            )
        return found

    def check_first(self, peer: Peer) -> int:
        peer.check()
        size = bytes_in(peer.stored)
        if not peer.is_kept:
            peer.fresh()
        return size

    def again(self) -> list[Contestant]:
        found = [self.start()]
        for peer in filter(lambda peer: peer.incremental, self.peers):
            found.append(
                self.contestant(
                    peer,
                    peer.title,
                    peer.backup,
                    prepare=partial(self.note_size, peer),
                    check=partial(self.check_added, peer),
                )
            )
        return found

    def note_size(self, peer: Peer) -> None:
        self._sizes[peer.key] = bytes_in(peer.stored)

    def check_added(self, peer: Peer) -> int:
        added = bytes_in(peer.stored) - self._sizes[peer.key]
        peer.check()
        return added

    def restores(self) -> list[Contestant]:
        found = [self.start()]
        for peer in filter(lambda peer: peer.restoring, self.peers):
            found.append(
                self.contestant(
                    peer,
                    peer.restoring,
                    partial(peer.restore, self.target),
                    prepare=self.target.mkdir,
                    check=partial(self.check_restored, peer),
                    slow=peer.slow,
                )
            )
        return found

    def check_restored(self, peer: Peer) -> None:
        if peer.after_restore:
            peer.project.run(*peer.after_restore)
        self.files.check_folder(self.target)
        shutil.rmtree(self.target)

    def start(self) -> Contestant:
        return Contestant(
            key=START,
            title="Django's own start",
            commands=lambda: [DJANGO_START],
            env=self.project.environment,
            cwd=self.project.folder,
            django=True,
        )

    def contestant(
        self,
        peer: Peer,
        title: str,
        commands: Callable[[], Pipeline],
        *,
        prepare: Callable[[], None],
        check: Callable[[], int | None],
        output: Path | None = None,
        slow: bool = False,
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
            note="" if title == peer.restoring else peer.note,
            runs=self.options.slow_runs if slow else None,
            django=peer.django,
        )

    def inventory(self, peer: Peer) -> None:
        """Make the first backup of a peer whose first backup is not measured."""
        say(f"{peer.title}: a first backup, not measured ...")
        peer.fresh()
        measure(peer.backup(), env=peer.env, cwd=peer.project.folder, output=peer.output)
        peer.check()


def measured(options: Namespace) -> Contests:
    with common.work_folder(options) as work:
        root, listing = sites_data.make(work, common.scale(options))
        files = FilesCheck(listing)
        put_back(root, files.wanted)
        with KeptServer(options.postgresql, work) as server:
            url = server.database("benchmark_empty", None)
            ours = Project(work / "ours", database_url=url, bin_dir=server.bin_dir, sites=root)
            theirs = Project(work / "theirs", database_url=url, bin_dir=server.bin_dir, sites=root)
            try:
                peers: list[Peer] = [kind(ours, root, files) for kind in (Ours, Tar, Programs, Restic, Borg)]
                peers.append(MediaBackup(theirs, root, files))
                found = Field([peer for peer in peers if peer.is_installed()], options).hold_all()
            finally:
                for project in (ours, theirs):
                    shutil.rmtree(project.folder, ignore_errors=True)
    for peer in peers:
        if not peer.is_installed():
            found[0][0].absent[peer.title] = "not installed"
        elif peer.key not in found[0][0].runs:
            found[0][0].absent[peer.title] = "--slow-runs 0"
    return found


def main() -> None:
    options = common.parser(__doc__).parse_args()
    common.require_programs("age", "zstd", "tar")
    machine = facts()
    contests = measured(options)
    machine |= versions_of(("age", "zstd", "tar", "restic", "borg"))
    text = "\n".join(report.markdown(results, targets) for results, targets in contests)
    text += "\n" + report.closing_lines(machine, common.scale(options), options.runs)
    data = report.as_json(machine, contests, scale=common.scale(options))
    report.write(common.out_folder(options), "sites", text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
