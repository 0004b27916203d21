"""PostgreSQL as an :class:`~igny8_backup.databases.engine.Engine`: each method delegates to a module.

Dumps use the connection for backups, which ``DBBACKUP_CONNECTORS`` can change. Restores use the connection of
the application, which must lead to the primary server.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from datetime import datetime
from pathlib import Path
from typing import Self

from igny8_backup.conf import Problem
from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.engine import Engine, OnAnswers, Queries
from igny8_backup.databases.names import DRILL, derived_name, is_derived_name
from igny8_backup.databases.postgresql.clients import find_client, major_of
from igny8_backup.databases.postgresql.configured import (
    excluded_by_connector,
    live_connection,
    source_connection,
)
from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.databases.postgresql.dump.dump import Dumper
from igny8_backup.databases.postgresql.dump.snapshot import BEGIN
from igny8_backup.databases.postgresql.in_place.preflight import find_in_place_blockers
from igny8_backup.databases.postgresql.in_place.restore import restore_in_place
from igny8_backup.databases.postgresql.introspection import list_tables, system_identifier
from igny8_backup.databases.postgresql.permissions import permission_problems
from igny8_backup.databases.postgresql.probes import ask
from igny8_backup.databases.postgresql.restore import load as loading
from igny8_backup.databases.postgresql.restore import staging as staging_databases
from igny8_backup.databases.postgresql.restore.archive_toc import read_time
from igny8_backup.databases.postgresql.restore.preflight import find_blockers
from igny8_backup.databases.postgresql.restore.swap import name_database, swap_back_databases, swap_databases
from igny8_backup.databases.postgresql.restore.target import inspect_target
from igny8_backup.databases.postgresql.restore.vacuum import rewrite, triggers_disabled
from igny8_backup.databases.postgresql.sessions import open_lock_session
from igny8_backup.databases.session import Session
from igny8_backup.databases.values import WHOLE, Answers, RestoreSelection, Target, TargetState, Versions
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks


class PostgresqlEngine(Engine):
    """The engine of an alias whose database is on a PostgreSQL server."""

    vendor = "postgresql"
    display_name = "PostgreSQL"
    dump_kind = "dump"
    capabilities = frozenset(Capability)
    lock_seconds = 60
    """Time limit in seconds for each table lock of ``pg_dump``.

    The session that exported the snapshot holds locks on all tables already. So ``pg_dump`` waits only if a
    third session has requested an exclusive lock in the meantime.
    """

    def __init__(self, alias: str, *, bin_dir: Path | None, scratch: Path) -> None:
        """``bin_dir`` is the setting ``CLIENT_BIN_DIR``; temporary files are written in ``scratch``."""
        super().__init__(alias)
        self.source: Connection = source_connection(alias)
        self.live: Connection = live_connection(alias)
        self._excluded = excluded_by_connector(alias)
        self._bin_dir = bin_dir
        self._scratch = scratch
        self._dumper = Dumper(self.source, excluded=self._excluded, bin_dir=bin_dir, scratch=scratch)

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

    def check(self, excluded: Sequence[str]) -> list[Problem]:
        self._dumper.versions()
        return permission_problems(self.alias, self._dumper.permission_gaps(excluded))

    def versions(self) -> Versions:
        return self._dumper.versions()

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        return self._dumper.describe(excluded)

    def dump(
        self, details: DatabaseDetails, queries: Queries | None = None, on_answers: OnAnswers | None = None
    ) -> Blocks:
        return self._dumper.dump(details, queries or {}, on_answers, self.lock_seconds)

    def blocking_sessions(self) -> str:
        return self._dumper.blocking_sessions()

    # Prepare a restore

    def target(self) -> Target:
        return staging_databases.describe_target(self.live)

    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        return find_blockers(self.live, part, details, self._bin_dir)

    def target_state(self, part: DatabasePart, details: DatabaseDetails) -> TargetState:
        return inspect_target(self.live, part, details, self._bin_dir)

    def derived_name(self, word: str, stamp: str) -> str:
        return derived_name(self.live.name, word, stamp)

    # Build a staging database

    def create_staging(self, staging: str, details: DatabaseDetails) -> None:
        staging_databases.create_staging(self.live, staging, details)

    def load(
        self, staging: str, blocks: Blocks, *, raw_bytes: int, jobs: int, selection: RestoreSelection = WHOLE
    ) -> tuple[str, ...]:
        return loading.load(
            self.live.to(staging),
            blocks,
            raw_bytes=raw_bytes,
            scratch=self._scratch,
            jobs=jobs,
            bin_dir=self._bin_dir,
            selection=selection,
        )

    def analyze(self, name: str) -> None:
        with self.live.to(name).open() as session:
            session.execute("ANALYZE")

    def copy_settings(self, staging: str, details: DatabaseDetails) -> None:
        staging_databases.copy_settings(self.live, staging, details)

    def tables(self, name: str) -> tuple[str, ...]:
        with self.live.to(name).open() as session:
            return list_tables(session)

    def answers(self, name: str, details: DatabaseDetails, tables: Sequence[str] = ()) -> Answers:
        with self.live.to(name).open() as session:
            session.execute(BEGIN)
            counted = [table for table in details.row_counts if not tables or table in tables]
            queries = {} if tables else {probe.name: probe.query for probe in details.probes}
            return ask(session, counted, queries, details.counted_to)

    def exists(self, name: str) -> bool:
        with self.live.maintenance() as session:
            return session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 1

    def drop(self, name: str) -> None:
        staging_databases.drop_database(self.live, name)

    # Swap

    def swap(self, staging: str, previous: str, details: DatabaseDetails) -> None:
        swap_databases(self.live, staging, previous, details)

    def swap_back(self, previous: str, replaced: str) -> None:
        swap_back_databases(self.live, previous, replaced)

    # Capability.LOCK

    def lock_session(self) -> AbstractContextManager[Session]:
        return open_lock_session(self.live, self.source)

    # Capability.COPY

    def for_database(self, name: str) -> Self:
        other = copy.copy(self)
        other.live = self.live.to(name)
        return other

    def name_staging(self, staging: str, details: DatabaseDetails) -> None:
        name_database(self.live, staging, details)

    def stale_staging_databases(self) -> list[str]:
        return staging_databases.stale_staging_databases(self.live)

    # Capability.OVERRIDE

    def roles(self) -> tuple[str, frozenset[str]]:
        with self.live.maintenance() as session:
            (current,) = session.execute("SELECT current_user::text").fetchone() or ("",)
            return current, frozenset(row[0] for row in session.execute("SELECT rolname FROM pg_roles"))

    # Capability.IN_PLACE

    def in_place_blockers(self, part: DatabasePart, details: DatabaseDetails, blocks: Blocks) -> list[str]:
        return find_in_place_blockers(
            self.live, part, details, blocks, excluded=self._excluded, bin_dir=self._bin_dir
        )

    def restore_in_place(
        self, blocks: Blocks, details: DatabaseDetails, selection: RestoreSelection
    ) -> tuple[str, ...]:
        return restore_in_place(
            self.live, blocks, details, selection=selection, scratch=self._scratch, bin_dir=self._bin_dir
        )

    # Capability.DRILL

    def dumped_at(self, part: DatabasePart, blocks: Blocks) -> datetime | None:
        with closing(blocks):
            major = major_of(part.dump_version)
            pg_restore = find_client("pg_restore", server_major=major, bin_dir=self._bin_dir)
            return read_time(blocks, pg_restore.path)

    def drill_databases(self) -> tuple[str, ...]:
        with self.live.maintenance() as session:
            names = [name for (name,) in session.execute("SELECT datname::text FROM pg_database")]
        return tuple(name for name in names if is_derived_name(name, self.live.name, DRILL))

    # Capability.SANITIZE

    def triggers_disabled(self, name: str) -> AbstractContextManager[None]:
        return triggers_disabled(self.live.to(name))

    def rewrite(self, name: str) -> None:
        rewrite(self.live.to(name))
