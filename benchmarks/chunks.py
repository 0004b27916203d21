"""``python -m benchmarks.chunks``: compare dumps in chunks, full and after a day of changes, with peers.

A day brings 0.4 % new rows in the ledger, 0.4 % new events, 0.4 % new and 0.5 % updated articles. The restore
is that of the last of ``--increments`` hourly backups after a full one, between which a part of these changes
was made. Their clock is simulated: 167 of them are a week, with a differential backup each day.
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from benchmarks import options as common
from benchmarks import report
from benchmarks.chunk_changes import DAY, HOUR
from benchmarks.contest import START, Contestant, Results, Target, hold
from benchmarks.database_checks import DumpCheck, RowsCheck
from benchmarks.machine import facts, versions_of
from benchmarks.measure import Argv, run
from benchmarks.month_keepers import Ours, set_up_django
from benchmarks.project import DJANGO_START, Project, bytes_in
from benchmarks.server import KeptServer

FULL_TARGETS = (
    Target(ours="ours", against="pg_dump", what="wall", limit=0.18),
    Target(ours="ours", against="zstd", what="wall", limit=0.85),
    Target(ours="ours", against="restic", what="wall", limit=0.35),
)
DAY_TARGETS = (
    Target(ours="ours", against="pg_dump", what="wall", limit=0.13),
    Target(ours="ours", against="zstd", what="wall", limit=0.65),
    Target(ours="ours", against="restic", what="wall", limit=0.4),
    Target(ours="ours", against="zstd", what="stored", limit=0.03),
    Target(ours="ours", against="restic", what="stored", limit=0.06),
)
RESTORE_TARGETS = (Target(ours="ours", against="pg_restore", what="wall", limit=1.05),)
CONTESTS = ("full", "day", "restore")
_SECRET = "of no use elsewhere"


class Peers:
    """The contestants. ``yesterday`` keeps the storages from before the day."""

    def __init__(self, project: Project, server: KeptServer, name: str, slow: int | None) -> None:
        self.project = project
        self.server = server
        self.name = name
        self.slow = slow
        self.env = project.environment | {
            "DJANGO_SETTINGS_MODULE": "benchmarks.chunk_settings",
            "RESTIC_PASSWORD": _SECRET,
        }
        self.repository = project.folder / "restic"
        self.cache = project.folder / "restic-cache"
        self.yesterday = project.folder / "yesterday"
        self.file = project.folder / "dump"
        self.archives = project.folder / "archives"
        self.pg_dump: Argv = (server.bin_dir / "pg_dump", "--format=custom", f"--dbname={server.url(name)}")
        self.before = {"ours": 0, "restic": 0}

    def contestants(self, *, after_a_day: bool) -> list[Contestant]:
        dumps = DumpCheck(self.server, self.name, self.env)
        kind, prepare = ("", self.as_yesterday) if after_a_day else ("--full", self.emptied)
        plain: Argv = (*self.pg_dump, "--compress=0")
        make = partial(Contestant, env=self.env, cwd=self.project.folder)
        ours = self.project.manage("backup_db", *[kind] * bool(kind))
        found = [
            make(key=START, django=True, title="Django's own start", commands=lambda: [DJANGO_START]),
            make(key="limit", title="`pg_dump -Fc -Z0` to nothing", commands=lambda: [plain]),
            make(
                key="ours",
                django=True,
                title=f"`{' '.join(('backup_db', kind)).strip()}`",
                note="in chunks, encrypted, hashed",
                commands=lambda: [ours],
                prepare=prepare,
                check=partial(self.check_ours, dumps),
            ),
            make(
                key="zstd",
                title="`pg_dump -Fc -Z0 \\| zstd -3 -T0` to a file",
                commands=lambda: [plain, ("zstd", "-3", "-T0", "-q", "-c")],
                output=self.file,
                check=partial(self.check_file, dumps, ("zstd", "-dcq", self.file)),
            ),
            make(
                key="pg_dump",
                title="`pg_dump -Fc`",
                commands=lambda: [self.pg_dump],
                output=self.file,
                check=partial(self.check_file, dumps, ("cat", self.file)),
                runs=self.slow,
            ),
        ]
        if shutil.which("restic"):
            backup = self.restic("backup", "--quiet", "--stdin", "--stdin-filename", "dump")
            found.append(
                make(
                    key="restic",
                    title="`pg_dump \\| restic backup --stdin`",
                    note="encrypted",
                    commands=lambda: [plain, backup],
                    prepare=prepare,
                    check=partial(self.check_restic, dumps),
                    runs=self.slow,
                )
            )
        return found

    def restores(self, increments: int) -> list[Contestant]:
        """Return the contestants that restore the database. Makes a full backup and ``increments`` others."""
        self.emptied()
        self.project.environment |= self.env
        set_up_django(self.project, {})
        keeper = Ours(self.project, self.pg_dump, {})
        start = datetime.now(UTC) - timedelta(hours=increments)
        keeper.backup(start)
        for hour in range(increments):
            with self.server.connect(self.name) as connection:
                for change in HOUR:
                    connection.execute(change.format(hour=hour).encode())
            keeper.backup(start + timedelta(hours=hour + 1))
        kinds = ", ".join(f"{count} {kind}" for kind, count in keeper.kinds().items())
        run((*self.pg_dump, "--compress=0", f"--file={self.file}"), env=self.env, cwd=self.project.folder)
        rows, beside = RowsCheck(self.server, self.name), f"{self.name}_restored"
        ours = ("restore_all", "--only", "db", "--noinput", "--database-name", self.name)
        theirs = ("--jobs=2", f"--dbname={self.server.url(beside)}", self.file)
        make = partial(Contestant, env=self.env, cwd=self.project.folder)
        return [
            make(key=START, django=True, title="Django's own start", commands=lambda: [DJANGO_START]),
            make(
                key="ours",
                django=True,
                title="`restore_all --only db`",
                note=f"from chunks, after hourly backups: {kinds}; checked, migrated, swapped",
                commands=lambda: [self.project.manage(*ours, "--identity", self.project.identity)],
                check=partial(self.check_restored, rows),
            ),
            make(
                key="pg_restore",
                title="`pg_restore -j2` of a local uncompressed file",
                commands=lambda: [(self.server.bin_dir / "pg_restore", *theirs)],
                prepare=partial(self.server.create_database, beside),
                check=partial(self.check_beside, rows, beside),
            ),
        ]

    def check_restored(self, rows: RowsCheck) -> None:
        rows.check()
        self.project.run("undo_restore", "--discard", "--noinput")

    def check_beside(self, rows: RowsCheck, beside: str) -> None:
        rows.check(beside)
        self.server.drop_database(beside)

    def restic(self, *words: str | Path) -> Argv:
        return ("restic", "--repo", self.repository, "--cache-dir", self.cache, *words)

    def emptied(self) -> None:
        for folder in (self.project.storage, self.project.state, self.repository, self.cache):
            shutil.rmtree(folder, ignore_errors=True)
        self.project.storage.mkdir()
        self.before = {"ours": 0, "restic": 0}
        if shutil.which("restic"):
            run(self.restic("init"), env=self.env, cwd=self.project.folder)

    def remember(self) -> None:
        """Back up with ours and restic, and keep what they stored as that of yesterday."""
        self.emptied()
        run(self.project.manage("backup_db", "--full"), env=self.env, cwd=self.project.folder)
        if shutil.which("restic"):
            piped = " ".join(
                map(str, (*self.pg_dump, "--compress=0", "|", *self.restic("backup", "--stdin")))
            )
            run(("sh", "-c", f"{piped} --quiet --stdin-filename dump"), env=self.env, cwd=self.project.folder)
        self.yesterday.mkdir()
        self.copy(self.project.folder, self.yesterday)

    def as_yesterday(self) -> None:
        self.emptied()
        for folder in (self.project.storage, self.project.state, self.repository, self.cache):
            shutil.rmtree(folder, ignore_errors=True)
        self.copy(self.yesterday, self.project.folder)
        self.before = {"ours": bytes_in(self.project.storage), "restic": bytes_in(self.repository)}

    def copy(self, source: Path, target: Path) -> None:
        """Copy the storages with hard links: a map of chunks knows the inodes of the packs."""
        names = (self.project.storage.name, self.project.state.name, self.repository.name, self.cache.name)
        for name in names:
            if (source / name).exists():
                run(("cp", "-al", source / name, target / name), env=self.env, cwd=self.project.folder)

    def check_ours(self, dumps: DumpCheck) -> int:
        shutil.rmtree(self.archives, ignore_errors=True)
        self.archives.mkdir()
        words = ("extract_backup", "--archive", self.archives / "dump", "--identity", self.project.identity)
        run(self.project.manage(*words), env=self.env, cwd=self.project.folder)
        dumps.check_archives([[("cat", path)] for path in sorted(self.archives.iterdir())])
        return bytes_in(self.project.storage) - self.before["ours"]

    def check_restic(self, dumps: DumpCheck) -> int:
        dumps.check([self.restic("dump", "latest", "/dump")])
        return bytes_in(self.repository) - self.before["restic"]

    def check_file(self, dumps: DumpCheck, decoder: Argv) -> int:
        dumps.check([decoder])
        size = self.file.stat().st_size
        self.file.unlink()
        return size


def measured(options: Namespace) -> tuple[list[tuple[Results, Sequence[Target]]], KeptServer]:
    scale = common.scale(options)
    source, name = f"benchmark_{scale}", f"chunked_{scale}"
    with common.work_folder(options) as work, KeptServer(options.postgresql, work) as server:
        server.database(source, scale)
        server.drop_database(name)
        server.create_database(name, template=source)
        url = server.url(name)
        project = Project(work / "chunks", database_url=url, bin_dir=server.bin_dir, sites=work / "no-sites")
        peers = Peers(project, server, name, options.slow_runs)
        found: list[tuple[Results, Sequence[Target]]] = []
        try:
            if "full" in options.contests:
                contestants = peers.contestants(after_a_day=False)
                found.append((hold("First backup in chunks", contestants, options.runs), FULL_TARGETS))
            if "day" in options.contests:
                peers.remember()
                with server.connect(name) as connection:
                    for change in DAY:
                        connection.execute(change.encode())
                contestants = peers.contestants(after_a_day=True)
                found.append((hold("Backup in chunks after a day", contestants, options.runs), DAY_TARGETS))
            if "restore" in options.contests:
                contestants = peers.restores(options.increments)
                found.append((hold("Restore from chunks", contestants, options.runs), RESTORE_TARGETS))
        finally:
            shutil.rmtree(project.folder, ignore_errors=True)
            server.drop_database(name)
        return found, server


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--increments", type=int, default=24, help="Hourly backups before the restore (24).")
    parser.add_argument(
        "--contests", nargs="+", choices=CONTESTS, default=CONTESTS, help="What to measure (everything)."
    )
    options = parser.parse_args()
    common.require_programs("zstd")
    machine = facts()
    contests, server = measured(options)
    machine |= {"PostgreSQL": str(server.major), **versions_of(("zstd",))}
    text = "\n".join(report.markdown(results, targets) for results, targets in contests)
    text += "\n" + report.closing_lines(machine, common.scale(options), options.runs)
    data = report.as_json(machine, contests, scale=common.scale(options))
    report.write(common.out_folder(options), "chunks", text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
