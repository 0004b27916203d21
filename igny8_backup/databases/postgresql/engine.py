"""PostgreSQL as an :class:`~igny8_backup.databases.engine.Engine`: each method delegates to a module.

Dumps use the connection for backups, which ``DBBACKUP_CONNECTORS`` can change. Restores use the connection of
the application, which must lead to the primary server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from igny8_backup.conf import Problem
from igny8_backup.databases.engine import OnAnswers, Queries
from igny8_backup.databases.names import derived_name
from igny8_backup.databases.postgresql import known_holes
from igny8_backup.databases.postgresql.connections.configured import (
    excluded_by_connector,
    live_connection,
    source_connection,
)
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.dump.dump import Dumper
from igny8_backup.databases.postgresql.dump.snapshot import BEGIN
from igny8_backup.databases.postgresql.introspection import list_tables, system_identifier
from igny8_backup.databases.postgresql.live_marks import live_marks
from igny8_backup.databases.postgresql.optional_methods import PostgresqlOptionalMethods
from igny8_backup.databases.postgresql.probes import ask
from igny8_backup.databases.postgresql.restore import staging as staging_databases
from igny8_backup.databases.postgresql.restore.preflight import find_blockers
from igny8_backup.databases.postgresql.restore.readiness import find_notes, restore_problems
from igny8_backup.databases.postgresql.restore.schemas import schemas_script
from igny8_backup.databases.postgresql.restore.statistics import analyze
from igny8_backup.databases.postgresql.restore.swap import swap_back_databases, swap_databases
from igny8_backup.databases.postgresql.restore.target import inspect_target
from igny8_backup.databases.postgresql.roles.access import with_access
from igny8_backup.databases.postgresql.roles.limits import possible_jobs, suitable_jobs
from igny8_backup.databases.postgresql.roles.powers import power_problems, role_powers
from igny8_backup.databases.values import (
    WHOLE,
    Answers,
    RestoreSelection,
    Target,
    TargetState,
    Versions,
    VulnerableProgram,
)
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import Account


class PostgresqlEngine(PostgresqlOptionalMethods):
    """The engine of an alias whose database is on a PostgreSQL server."""

    vendor = "postgresql"
    display_name = "PostgreSQL"
    dump_kind = "dump"
    lock_seconds = 60
    """Time limit in seconds for each table lock of ``pg_dump``.

    The session that exported the snapshot holds locks on all tables already. So ``pg_dump`` waits only if a
    third session has requested an exclusive lock in the meantime.
    """

    def __init__(
        self, alias: str, *, bin_dir: Path | None, scratch: Path, run_as: Account | None = None
    ) -> None:
        """Build the engine of ``alias`` from Django's settings.

        ``bin_dir`` is the setting ``CLIENT_BIN_DIR``. Temporary files are written in ``scratch``. The
        programs of a restore run as the user ``run_as``; ``None`` means the user of this process.
        """
        super().__init__(alias)
        self._run_as = run_as
        self.source: Connection = source_connection(alias)
        self.live: Connection = live_connection(alias)
        self._excluded = excluded_by_connector(alias)
        self._bin_dir = bin_dir
        self._scratch = scratch
        self._dumper = Dumper(
            self.source,
            dedicated=self.source.params.get("user") != self.live.params.get("user"),
            excluded=self._excluded,
            bin_dir=bin_dir,
            scratch=scratch,
        )

    @property
    def name(self) -> str:
        return self.live.name

    @property
    def where(self) -> str:
        return self.live.where

    def identity(self) -> str:
        # A server may be known by several host names, but it has one system identifier.
        with self.live.maintenance() as session:
            return f"{system_identifier(session)}/{self.live.name}"

    # Back up

    def check(self, excluded: Sequence[str], *, yielding: bool = False, jobs: int = 1) -> list[Problem]:
        found = self._dumper.problems(excluded, yielding=yielding, jobs=jobs) + restore_problems(self.live)
        found += known_holes.program_problems(self.live, self._bin_dir)
        return found + power_problems(self.live)

    def versions(self) -> Versions:
        return self._dumper.versions()

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        return self._dumper.describe(excluded)

    def dump(
        self, details: DatabaseDetails, queries: Queries | None = None, on_answers: OnAnswers | None = None
    ) -> Blocks:
        with self._dumper.open_archives(details, queries or {}, on_answers, self.lock_seconds) as dump:
            yield from dump.archives[0]

    def blocking_sessions(self) -> str:
        return self._dumper.blocking_sessions()

    # Prepare a restore

    def target(self, name: str = "") -> Target:
        return staging_databases.describe_target(self.live.to(name) if name else self.live)

    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        return find_blockers(self.live, part, details, self._bin_dir)

    def plan_notes(self, details: DatabaseDetails) -> list[str]:
        return find_notes(self.live, details)

    def vulnerable_programs(self, *, in_place: bool = False) -> tuple[VulnerableProgram, ...]:
        return known_holes.vulnerable_for_restore(self.live, self._bin_dir, in_place=in_place)

    def role_powers(self) -> str:
        with self.live.maintenance() as session:
            return role_powers(session)

    def live_marks(self, *, contents: bool = False) -> Mapping[str, str]:
        return live_marks(self.live, contents=contents)

    def target_state(self, part: DatabasePart, details: DatabaseDetails) -> TargetState:
        return inspect_target(self.live, part, details, self._bin_dir)

    def derived_name(self, word: str, stamp: str) -> str:
        return derived_name(self.live.name, word, stamp)

    # Build a staging database

    def create_staging(self, staging: str, details: DatabaseDetails) -> None:
        staging_databases.create_staging(self.live, staging, details)

    def load(
        self, staging: str, blocks: Blocks, *, jobs: int, selection: RestoreSelection = WHOLE
    ) -> tuple[str, ...]:
        return self.load_archives(staging, [blocks], jobs=jobs, selection=selection)

    def choose_jobs(self, name: str, wanted: int | None, size: int) -> int:
        connection = self.live.to(name) if name else self.source
        with connection.open() as session:
            return possible_jobs(session, wanted or suitable_jobs(session, size))

    def analyze(self, name: str, jobs: int = 1) -> dict[str, str]:
        return analyze(self.live.to(name), jobs).failed

    def restore_schemas(self, name: str, details: DatabaseDetails) -> None:
        if script := schemas_script(details.schemas):
            with self.live.to(name).open() as session, session.transaction():
                session.execute(script)

    def copy_settings(self, staging: str, details: DatabaseDetails) -> None:
        staging_databases.copy_settings(self.live, staging, details)

    def copy_labels(self, staging: str, details: DatabaseDetails) -> None:
        staging_databases.copy_labels(self.live, staging, details)

    def tables(self, name: str) -> tuple[str, ...]:
        with self.live.to(name).open() as session:
            return list_tables(session)

    def answers(self, name: str, details: DatabaseDetails, tables: Sequence[str] = ()) -> Answers:
        with self.live.to(name).open() as session:
            session.execute(BEGIN)
            counted = [table for table in details.row_counts if not tables or table in tables]
            queries = {} if tables else {probe.name: probe.query for probe in details.probes}
            answers = ask(session, counted, queries, details.counted_to)
            return with_access(answers, session) if details.schemas is not None and not tables else answers

    def exists(self, name: str) -> bool:
        with self.live.maintenance() as session:
            return session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 1

    def drop(self, name: str) -> None:
        staging_databases.drop_database(self.live, name)

    # Swap

    def swap(self, staging: str, previous: str, details: DatabaseDetails) -> None:
        swap_databases(self.live, staging, previous, details)

    def swap_back(self, previous: str, replaced: str, *, existed: bool = True) -> None:
        swap_back_databases(self.live, previous if existed else "", replaced)
