"""PostgreSQL as an engine: what does the work lies beside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from igny8_backup.databases.engine import WHOLE, Engine, PermissionGaps, RestoreSelection, Target, Versions
from igny8_backup.databases.names import is_drill_name, previous_name
from igny8_backup.databases.postgresql.clients import find_client, major_of
from igny8_backup.databases.postgresql.configured import (
    excluded_by_connector,
    live_connection,
    source_connection,
)
from igny8_backup.databases.postgresql.connection import Connection, is_pooled, server_version
from igny8_backup.databases.postgresql.dump.dump import Dumper
from igny8_backup.databases.postgresql.dump.snapshot import BEGIN
from igny8_backup.databases.postgresql.in_place.preflight import find_in_place_blockers
from igny8_backup.databases.postgresql.in_place.restore import restore_in_place
from igny8_backup.databases.postgresql.introspection import list_tables, system_identifier
from igny8_backup.databases.postgresql.probes import Answers, ask
from igny8_backup.databases.postgresql.restore import load as loading
from igny8_backup.databases.postgresql.restore import staging
from igny8_backup.databases.postgresql.restore.archive_toc import Entry, read_contents, read_time
from igny8_backup.databases.postgresql.restore.preflight import find_blockers
from igny8_backup.databases.postgresql.restore.swap import swap_back_databases, swap_databases
from igny8_backup.databases.postgresql.restore.target import TargetState, inspect_target
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.streams import Blocks


class PostgresqlEngine(Engine):
    """One PostgreSQL database. Dumps go through django-dbbackup's connection; restores through the
    application's own, which must be the primary."""

    engine = "postgresql"
    dump_kind = "dump"
    lock_seconds = 60
    """How long ``pg_dump`` waits for a table that we hold already: only for who waits for it behind us."""

    def __init__(self, alias: str, *, bin_dir: Path | None, scratch: Path) -> None:
        super().__init__(alias)
        self.source: Connection = source_connection(alias)
        self.live: Connection = live_connection(alias)
        self._excluded = excluded_by_connector(alias)
        self._bin_dir = bin_dir
        self._dumper = Dumper(self.source, excluded=self._excluded, bin_dir=bin_dir, scratch=scratch)

    def named(self, name: str) -> PostgresqlEngine:
        """The same server seen as if the application's database were called ``name``."""
        other = copy.copy(self)
        other.live = self.live.to(name)
        return other

    def roles(self) -> tuple[str, frozenset[str]]:
        """The role that restores, and all that the server knows."""
        with self.live.maintenance() as session:
            (current,) = session.execute("SELECT current_user::text").fetchone() or ("",)
            return current, frozenset(row[0] for row in session.execute("SELECT rolname FROM pg_roles"))

    @contextmanager
    def lock_session(self) -> Iterator[psycopg.Connection[Any]]:
        """A session for the lock, in a maintenance database of the primary: by the application's connection
        or, where that leads through a pooler, by the one for backups.

        Through a pooler the lock would stay with a session of the pooler when we are long gone. Raises
        :class:`DatabaseError` where no such session can be had.
        """
        ways = [self.live] if self.source.params == self.live.params else [self.live, self.source]
        refusals = []
        with ExitStack() as stack:
            for way in ways:
                try:
                    session = stack.enter_context(way.maintenance())
                    if not is_pooled(session) and not _is_replica(session):
                        break
                except (DatabaseError, psycopg.Error) as error:
                    refusals.append(str(error))
                else:
                    refusals.append(f"{way.where} leads to a connection pooler, or to a replica.")
            else:
                raise DatabaseError(refusals[0])
            yield session

    def versions(self) -> Versions:
        return self._dumper.versions()

    def hidden(self, excluded: Sequence[str]) -> PermissionGaps:
        return self._dumper.hidden(excluded)

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        return self._dumper.describe(excluded)

    def dump(
        self,
        details: DatabaseDetails,
        queries: Mapping[str, str] | None = None,
        on_answers: Callable[[Answers], None] | None = None,
    ) -> Blocks:
        return self._dumper.dump(details, queries or {}, on_answers, lock_seconds=self.lock_seconds)

    def blocking_sessions(self) -> str:
        return self._dumper.blocking_sessions()

    def answers(self, name: str, details: DatabaseDetails, tables: Sequence[str] = ()) -> Answers:
        with self.live.to(name).open() as session:
            session.execute(BEGIN)
            wanted = [table for table in details.row_counts if not tables or table in tables]
            queries = {} if tables else {probe.name: probe.query for probe in details.probes}
            return ask(session, wanted, queries, counted_to=details.counted_to)

    def tables(self, name: str) -> tuple[str, ...]:
        with self.live.to(name).open() as session:
            return list_tables(session)

    def place(self) -> str:
        with self.live.maintenance() as session:
            return f"{system_identifier(session)}/{self.live.name}"

    def target(self) -> Target:
        return staging.look_at_target(self.live)

    def blockers(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        return find_blockers(self.live, part, details, self._bin_dir)

    def target_state(self, part: DatabasePart, details: DatabaseDetails) -> TargetState:
        return inspect_target(self.live, part, details, self._bin_dir)

    def in_place_blockers(self, part: DatabasePart, details: DatabaseDetails, blocks: Blocks) -> list[str]:
        """Why the dump ``blocks``, of which the head is read, cannot replace what is in the live database."""
        with self.live.open() as session:
            server = major_of(server_version(session))
        entries: tuple[Entry, ...] = ()
        with closing(blocks):
            pg_restore = find_client("pg_restore", server_major=server, bin_dir=self._bin_dir)
            if pg_restore.major >= major_of(part.dump_version):  # an older one cannot read it, and is told
                _, entries = read_contents(blocks, pg_restore.path)
        return find_in_place_blockers(
            self.live, part, details, entries, excluded=self._excluded, bin_dir=self._bin_dir
        )

    def restore_in_place(
        self, blocks: Blocks, details: DatabaseDetails, wanted: RestoreSelection, scratch: Path
    ) -> tuple[str, ...]:
        """Replaces all that is in the live database, in one transaction. See ``in_place``."""
        return restore_in_place(
            self.live, blocks, details, wanted=wanted, scratch=scratch, bin_dir=self._bin_dir
        )

    def previous_name(self, word: str, stamp: str) -> str:
        return previous_name(self.live.name, word, stamp)

    def create_staging(self, side: str, details: DatabaseDetails) -> None:
        staging.create_staging(self.live, side, details)

    def load(
        self,
        side: str,
        blocks: Blocks,
        *,
        raw_bytes: int,
        scratch: Path,
        jobs: int,
        analyze: bool = True,
        wanted: RestoreSelection = WHOLE,
    ) -> tuple[str, ...]:
        connection = self.live.to(side)
        left_out = loading.load(
            connection,
            blocks,
            raw_bytes=raw_bytes,
            scratch=scratch,
            jobs=jobs,
            bin_dir=self._bin_dir,
            wanted=wanted,
        )
        if analyze:
            with connection.open() as session:
                session.execute("ANALYZE")
        return left_out

    def seal_staging(self, side: str, details: DatabaseDetails) -> None:
        staging.seal_staging(self.live, side, details)

    def swap(self, side: str, before: str, details: DatabaseDetails) -> None:
        swap_databases(self.live, side, before, details)

    def swap_back(self, before: str, aside: str) -> None:
        swap_back_databases(self.live, before, aside)

    def exists(self, name: str) -> bool:
        with self.live.maintenance() as session:
            return session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 1

    def stale_staging_databases(self) -> list[str]:
        """Sides of this database that nobody is connected to: killed restores leave such."""
        return staging.stale_staging_databases(self.live)

    def dumped_at(self, part: DatabasePart, blocks: Blocks) -> datetime | None:
        """When the dump ``blocks``, of which the head is read, was made; ``None`` where it does not tell."""
        with closing(blocks):
            major = major_of(part.dump_version)
            return read_time(
                blocks, find_client("pg_restore", server_major=major, bin_dir=self._bin_dir).path
            )

    def drills(self) -> tuple[str, ...]:
        """The databases that drills have left."""
        with self.live.maintenance() as session:
            names = [name for (name,) in session.execute("SELECT datname::text FROM pg_database")]
        return tuple(name for name in names if is_drill_name(name, self.live.name))

    def drop(self, name: str) -> None:
        staging.drop(self.live, name)


def _is_replica(session: psycopg.Connection[Any]) -> bool:
    return session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
