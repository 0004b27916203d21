"""``python -m benchmarks.database``: compare backups and restores of a database with those of peers."""

from __future__ import annotations

import importlib.util
import shutil
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import options as common
from benchmarks import report
from benchmarks.contest import START, Contestant, Results, Target, hold
from benchmarks.database_checks import DumpCheck, RowsCheck
from benchmarks.machine import facts, versions_of
from benchmarks.measure import Argv, Pipeline
from benchmarks.project import DJANGO_START, Project, bytes_in
from benchmarks.server import KeptServer

BACKUP_TARGETS = (
    Target(ours="ours", against="pg_dump", what="wall", limit=0.22),
    Target(ours="ours", against="pg_dump", what="stored", limit=0.96),
    Target(ours="ours", against="dbbackup", what="wall", limit=0.22),
    Target(ours="ours", against="zstd", what="wall", limit=1.15),
    Target(ours="ours", against="limit", what="wall", limit=1.6),
)
RESTORE_TARGETS = (Target(ours="ours", against="dbrestore", what="wall", limit=0.85),)


class Peers:
    """The contestants, and the checks of their output."""

    def __init__(
        self, project: Project, theirs: Project, server: KeptServer, name: str, slow: int | None
    ) -> None:
        self.project = project
        self.theirs = theirs
        self.server = server
        self.name = name
        self.slow = slow
        self.pg_dump: Argv = (server.bin_dir / "pg_dump", "--format=custom", f"--dbname={server.url(name)}")
        self.file = project.folder / "dump"
        self.dumps: DumpCheck | None = None

    def start(self) -> Contestant:
        return Contestant(
            key=START,
            django=True,
            title="Django's own start",
            commands=lambda: [DJANGO_START],
            env=self.project.environment,
            cwd=self.project.folder,
        )

    def backups(self) -> list[Contestant]:
        self.dumps = DumpCheck(self.server, self.name, self.project.environment)
        found = [
            self.start(),
            Contestant(
                key="ours",
                django=True,
                title="`backup_db`",
                note="encrypted, hashed",
                commands=lambda: [self.project.manage("backup_db")],
                env=self.project.environment,
                cwd=self.project.folder,
                prepare=self.project.empty_storage,
                check=self.check_ours,
            ),
            self.program("limit", "`pg_dump -Fc -Z0` to nothing", [(*self.pg_dump, "--compress=0")]),
        ]
        if shutil.which("zstd"):
            piped = [(*self.pg_dump, "--compress=0"), ("zstd", "-3", "-T0", "-q", "-c")]
            found.append(
                self.program(
                    "zstd",
                    "`pg_dump -Fc -Z0 \\| zstd -3 -T0` to a file",
                    piped,
                    [("zstd", "-dcq", self.file)],
                )
            )
        found.append(
            self.program("pg_dump", "`pg_dump -Fc`", [self.pg_dump], [("cat", self.file)], runs=self.slow)
        )
        found.append(self.dbbackup("dbbackup", (), "cat", self.slow))
        # Once: it is there for its scratch, and no target is held against its time.
        once = 1 if self.slow is None else min(self.slow, 1)
        found.append(self.dbbackup("dbbackup-compress", ("--compress",), "zcat", once))
        return found

    def program(
        self,
        key: str,
        title: str,
        pipeline: Pipeline,
        decoded: Pipeline | None = None,
        *,
        runs: int | None = None,
    ) -> Contestant:
        """Return programs whose output is a file or is discarded."""
        return Contestant(
            key=key,
            title=title,
            commands=lambda: pipeline,
            env=self.project.environment,
            cwd=self.project.folder,
            output=self.file if decoded else None,
            check=partial(self.check_file, decoded) if decoded else lambda: None,
            runs=runs,
        )

    def dbbackup(self, key: str, flags: tuple[str, ...], decoder: str, runs: int | None) -> Contestant:
        return Contestant(
            key=key,
            django=True,
            title=f"django-dbbackup `{' '.join(('dbbackup', *flags))}`",
            commands=lambda: [self.theirs.manage("dbbackup", *flags)],
            env=self.theirs.environment,
            cwd=self.theirs.folder,
            prepare=self.theirs.empty_storage,
            check=partial(self.check_dbbackup, decoder),
            runs=runs,
        )

    def check_ours(self) -> int:
        (part,) = self.project.manifest()["databases"]
        if self.dumps is not None:
            self.dumps.check_archives(
                [self.project.decoded(stored) for stored in (part["object"], *part["data"])]
            )
        return bytes_in(self.project.storage)

    def check_file(self, decoded: Pipeline) -> int:
        self._check(decoded)
        size = self.file.stat().st_size
        self.file.unlink()
        return size

    def check_dbbackup(self, decoder: str) -> int:
        self._check([(decoder, self.theirs_file())])
        return bytes_in(self.theirs.storage)

    def theirs_file(self) -> Path:
        (found,) = [path for path in self.theirs.storage.iterdir() if path.suffix != ".metadata"]
        return found

    def _check(self, archive: Pipeline) -> None:
        if self.dumps is not None:
            self.dumps.check(archive)

    def restores(self) -> list[Contestant]:
        self.project.empty_storage()
        self.project.run("backup_db")
        self.theirs.empty_storage()
        self.theirs.run("dbbackup")
        rows = RowsCheck(self.server, self.name)
        ours = ("restore_all", "--only", "db", "--noinput", "--database-name", self.name)
        return [
            self.start(),
            Contestant(
                key="ours",
                django=True,
                title="`restore_all --only db`",
                note="into a side database, checked, migrated, swapped",
                commands=lambda: [self.project.manage(*ours, "--identity", self.project.identity)],
                env=self.project.environment,
                cwd=self.project.folder,
                check=partial(self.check_restored, rows.check),
            ),
            Contestant(
                key="dbrestore",
                django=True,
                title="django-dbbackup `dbrestore`",
                commands=lambda: [
                    self.theirs.manage("dbrestore", "--noinput", "--input-path", self.theirs_file())
                ],
                env=self.theirs.environment,
                cwd=self.theirs.folder,
                check=rows.check,
            ),
        ]

    def check_restored(self, check: Callable[[], None]) -> None:
        check()
        self.project.run("undo_restore", "--discard", "--noinput")


def measured(options: Namespace) -> tuple[Results, Results, KeptServer]:
    scale = common.scale(options)
    name = f"benchmark_{scale}"
    with common.work_folder(options) as work, KeptServer(options.postgresql, work) as server:
        url = server.database(name, scale)
        nowhere = work / "no-sites"
        project = Project(work / "ours", database_url=url, bin_dir=server.bin_dir, sites=nowhere)
        theirs = Project(work / "theirs", database_url=url, bin_dir=server.bin_dir, sites=nowhere)
        peers = Peers(project, theirs, server, name, options.slow_runs)
        try:
            backups = hold("Backup of a database", peers.backups(), options.runs)
            server.ready_mark(name).unlink()  # until every restore has proven to be whole
            restores = hold("Restore of a database", peers.restores(), options.runs)
        finally:
            for folder in (project.folder, theirs.folder):
                shutil.rmtree(folder, ignore_errors=True)
        server.database_is_whole(name)
        return backups, restores, server


def main() -> None:
    parser = common.parser(__doc__)
    options = parser.parse_args()
    if not shutil.which("age") or not shutil.which("zstd"):
        raise SystemExit("age and zstd are needed: every output of ours is decoded with them and compared.")
    if importlib.util.find_spec("dbbackup") is None:
        raise SystemExit("django-dbbackup is needed: the package depends on it.")
    machine = facts()
    backups, restores, server = measured(options)
    machine |= {"PostgreSQL": str(server.major), **versions_of(("age", "zstd"))}
    contests = [(backups, BACKUP_TARGETS), (restores, RESTORE_TARGETS)]
    text = "\n".join(report.markdown(results, targets) for results, targets in contests)
    text += "\n" + report.closing_lines(machine, common.scale(options), options.runs)
    data = report.as_json(machine, contests, scale=common.scale(options))
    report.write(common.out_folder(options), "database", text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
