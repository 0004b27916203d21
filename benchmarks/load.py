"""``python -m benchmarks.load``: transactions per second of a busy database while it is backed up.

``pgbench`` runs its standard load (similar to TPC-B) all the time. Seconds without a backup come before and
after each backup, because machines change their speed within minutes. The server writes durably.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchmarks import options as common
from benchmarks import report
from benchmarks.machine import facts
from benchmarks.measure import RunFailed, run, say
from benchmarks.project import Project, bytes_in
from benchmarks.server import KeptServer

FULL, INCREMENTAL = "full", "incremental"
KINDS = (FULL, INCREMENTAL)
NAME, RESTORED = "load", "load_restored"
SUMS = """
    SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
           (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history),
           (SELECT count(*) FROM pgbench_history)"""
"""Each transaction adds one amount to an account, a teller and a branch, and logs it: the sums are equal."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Some time of the load. ``kind`` is that of the backup that ran in it, empty if there was none.

    ``begin`` and ``end`` are seconds of the server's clock, ``stored`` are bytes, and ``transactions`` is the
    number of transactions that began in the span.
    """

    round: int
    kind: str
    begin: float
    end: float
    stored: int = 0
    transactions: int = 0

    @property
    def rate(self) -> float:
        """Transactions per second."""
        return self.transactions / (self.end - self.begin)


@dataclass(frozen=True)
class Backup:
    """A backup under load. The database had ``before`` and ``after`` transactions at its begin and end."""

    id: str
    before: int
    after: int


def ratios(spans: Sequence[Span], kind: str) -> list[float]:
    """Return the rate during each backup of ``kind``, divided by the mean rate of the spans beside it."""
    return [
        span.rate / statistics.mean((spans[position - 1].rate, spans[position + 1].rate))
        for position, span in enumerate(spans)
        if span.kind == kind
    ]


class Load:
    """The load on a database, and its backups."""

    def __init__(self, project: Project, server: KeptServer, clients: int, seconds: float) -> None:
        self.project = project
        self.server = server
        self.seconds = seconds
        self._pgbench = server.bin_dir / "pgbench"
        self._sessions = (f"--client={clients}", f"--jobs={os.cpu_count() or 1}")
        self._env: Mapping[str, str] = {
            **project.environment,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.role,
            "PGPASSWORD": server.password,
        }

    def make(self, scale: int) -> None:
        """Create the tables of ``pgbench``: about 15 MB for each unit of ``scale``."""
        argv = (self._pgbench, "--initialize", "--quiet", f"--scale={scale}", NAME)
        run(argv, env=self._env, cwd=self.project.folder)

    def hold(self, number: int, kinds: Sequence[str]) -> list[Span]:
        """Measure a backup of each kind between spans without one; check the backups afterwards."""
        spans: list[Span] = []
        backups: list[Backup] = []
        with self.running():
            time.sleep(self.seconds / 2)
            for kind in kinds:
                spans.append(self._quiet(number))
                before, stored = self._transactions(), bytes_in(self.project.storage)
                begin = self._now()
                self.project.run("backup_db", *[f"--{FULL}"] * (kind == FULL))
                end, size = self._now(), bytes_in(self.project.storage) - stored
                spans.append(Span(round=number, kind=kind, begin=begin, end=end, stored=size))
                made = self.project.manifest()
                backups.append(Backup(made["id"], before, self._transactions()))
                if (made["databases"][0]["chunked"]["kind"] == FULL) is not (kind == FULL):
                    raise RunFailed(f"The backup {made['id']} is of another kind than {kind}.")
            spans.append(self._quiet(number))
        counted = [Span(**asdict(span) | {"transactions": self._in(span)}) for span in spans]
        for backup in backups:
            self._check(backup)
        return counted

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run ``pgbench`` in the context. Raises ``RunFailed`` if it ends early."""
        argv = (self._pgbench, *self._sessions, "--no-vacuum", "--time=86400", NAME)
        with subprocess.Popen(
            argv, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield
                if process.poll() is not None:
                    raise RunFailed(f"pgbench ended early with {process.returncode}.")
            finally:
                process.terminate()

    def _quiet(self, number: int) -> Span:
        begin = self._now()
        time.sleep(self.seconds)
        return Span(round=number, kind="", begin=begin, end=self._now())

    def _now(self) -> float:
        with self.server.connect(NAME) as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        return float(row[0]) if row else 0

    def _in(self, span: Span) -> int:
        query = "SELECT count(*) FROM pgbench_history WHERE extract(epoch FROM mtime) BETWEEN %s AND %s"
        with self.server.connect(NAME) as connection:
            row = connection.execute(query, [span.begin, span.end]).fetchone()
        return int(row[0]) if row else 0

    def _transactions(self) -> int:
        with self.server.connect(NAME) as connection:
            row = connection.execute("SELECT count(*) FROM pgbench_history").fetchone()
        return int(row[0]) if row else 0

    def _check(self, backup: Backup) -> None:
        """Restore a backup beside the database, and compare it. Raises ``RunFailed``."""
        words = ("--to-database", RESTORED, "--identity", self.project.identity)
        self.project.run("extract_backup", backup.id, *words, "--ignore-space", "--allow-vulnerable-tools")
        with self.server.connect(RESTORED) as connection:
            row = connection.execute(SUMS).fetchone()
        self.server.drop_database(RESTORED)
        *sums, transactions = row or (0, 1, 0)
        if len(set(sums)) > 1 or not backup.before <= transactions <= backup.after:
            raise RunFailed(f"The backup {backup.id} does not show one instant: {row}, {backup}.")


def measured(options: Namespace) -> list[Span]:
    """Measure all rounds."""
    with common.work_folder(options) as work:
        folder = work / "durable"
        folder.mkdir(mode=0o755, exist_ok=True)
        with KeptServer(options.postgresql, folder, durable=True) as server:
            server.drop_database(NAME)
            server.drop_database(RESTORED)
            server.create_database(NAME)
            url = server.url(NAME)
            project = Project(work / NAME, database_url=url, bin_dir=server.bin_dir, sites=work / "no-sites")
            project.environment |= {"DJANGO_SETTINGS_MODULE": "benchmarks.chunk_settings"}
            try:
                load = Load(project, server, options.clients, options.seconds)
                load.make(options.scale)
                return [span for number in range(1, options.runs + 1) for span in _round(load, number)]
            finally:
                shutil.rmtree(project.folder, ignore_errors=True)
                server.drop_database(NAME)
                server.drop_database(RESTORED)


def _round(load: Load, number: int) -> list[Span]:
    found = load.hold(number, KINDS if number % 2 else KINDS[::-1])
    for span in found:
        say(f"  round {number}: {span.kind or 'no backup'}: {span.rate:,.0f} transactions per second")
    return found


def table(spans: Sequence[Span]) -> str:
    """Return the rates without and during backups, as Markdown."""
    lines = [
        "### Load beside a backup",
        "",
        "| | transactions per second | of those beside it | seconds | stored MB |",
        "|---|---|---|---|---|",
    ]
    for kind in ("", *KINDS):
        found = [span for span in spans if span.kind == kind]
        rate, took, size = (
            statistics.median(values)
            for values in zip(*((s.rate, s.end - s.begin, s.stored) for s in found), strict=True)
        )
        title = f"during a backup: {kind}" if kind else "without a backup"
        share = f"{statistics.median(ratios(spans, kind)):.2f}" if kind else ""
        stored = f"{size / 1e6:,.1f}" if kind else ""
        lines.append(f"| {title} | {rate:,.0f} | {share} | {took:.1f} | {stored} |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--clients", type=int, default=4, help="Sessions of pgbench. Default: 4.")
    parser.add_argument("--scale", type=int, help="Scale of pgbench. Default: 100 (1.5 GB), with --quick 2.")
    parser.add_argument("--seconds", type=float, help="Without a backup. Default: 20, with --quick 2.")
    options = parser.parse_args()
    options.scale = options.scale or (2 if options.quick else 100)
    options.seconds = options.seconds or (2 if options.quick else 20)
    machine = facts() | {"PostgreSQL": str(options.postgresql)}
    machine |= {"clients": str(options.clients), "scale of pgbench": str(options.scale)}
    spans = measured(options)
    text = f"{table(spans)}\n\n{report.closing_lines(machine, common.scale(options), options.runs)}"
    data = json.dumps({"machine": machine, "spans": [asdict(span) for span in spans]}, indent=1) + "\n"
    report.write(common.out_folder(options), NAME, text, data, update_readme=options.update_readme)


if __name__ == "__main__":
    main()
