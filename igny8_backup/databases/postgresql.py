"""PostgreSQL: the dump, and what to know about it."""

from __future__ import annotations

import copy
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from igny8_backup.databases import loading, restoring
from igny8_backup.databases.advice import direct, one_line, way_out
from igny8_backup.databases.base import WHOLE, Engine, Hidden, Target, Versions, Wanted
from igny8_backup.databases.client_access import client_access
from igny8_backup.databases.clients import Client, find_client, major_of, require_major
from igny8_backup.databases.configured import excluded_by_connector, live_connection, source_connection
from igny8_backup.databases.connection import Connection, is_pooled, server_version
from igny8_backup.databases.contents import Entry, read_contents, read_time
from igny8_backup.databases.description import describe, list_hidden, list_tables, system_identifier
from igny8_backup.databases.excluded import find_excluded
from igny8_backup.databases.in_place import restore_in_place
from igny8_backup.databases.in_place_obstacles import find_in_place_obstacles
from igny8_backup.databases.instant import BEGIN, export_snapshot, import_snapshot
from igny8_backup.databases.names import aside_name, is_drill_name
from igny8_backup.databases.obstacles import find_obstacles
from igny8_backup.databases.probes import Answers, ask
from igny8_backup.databases.surroundings import Surroundings, look_round
from igny8_backup.databases.swapping import swap_back_databases, swap_databases
from igny8_backup.databases.toc import checked_toc
from igny8_backup.databases.waiting import lock_holders
from igny8_backup.errors import DatabaseError, RefusedError, ToolError
from igny8_backup.manifest import DatabaseDetails, DatabasePart
from igny8_backup.streams import Blocks
from igny8_backup.streams.process import process_output

ATTEMPTS = 5

# pg_dump repeats its query after the cause: that which locks all tables names each of them.
_QUERY = re.compile(r"\s*^pg_dump: detail: Query was: .*", re.MULTILINE | re.DOTALL)


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
        self._scratch = scratch

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
    def _open_source(self) -> Iterator[psycopg.Connection[Any]]:
        """A session where backups are taken. Raises ``RefusedError`` where it leads through a pooler."""
        with self.source.open() as session:
            if is_pooled(session):
                raise RefusedError(
                    f"A connection pooler (PgBouncer, or one like it) stands before {self.source.where}, and"
                    " a dump needs a session that is its own to the end.",
                    untouched="Nothing was read or written.",
                    fix=f"Go past it: {direct(self.alias)}",
                )
            yield session

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
        with self._open_source() as session:
            server = server_version(session)
        return Versions(server=server, tool=self._pg_dump(server).version)

    def _pg_dump(self, server: str) -> Client:
        client = find_client("pg_dump", server_major=major_of(server), bin_dir=self._bin_dir)
        require_major(client, major_of(server), reason=f"the server of {self.alias!r} is version {server}")
        return client

    def hidden(self, excluded: Sequence[str]) -> Hidden:
        with self._open_source() as session:
            (role,) = session.execute("SELECT current_user::text").fetchone() or ("",)
            left_out = self._left_out(session, excluded)
            tables = tuple(table for table in list_hidden(session) if table not in left_out)
        return Hidden(role=role, tables=tables)

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        with self._open_source() as session:
            return describe(session, self.alias, self._left_out(session, excluded))

    def _left_out(self, session: psycopg.Connection[Any], excluded: Sequence[str]) -> tuple[str, ...]:
        setting = f"IGNY8_BACKUP['EXCLUDE_TABLE_DATA'][{self.alias!r}] (or EXCLUDE of DBBACKUP_CONNECTORS)"
        return find_excluded(session, tuple(dict.fromkeys((*excluded, *self._excluded))), setting)

    def dump(
        self,
        details: DatabaseDetails,
        queries: Mapping[str, str] | None = None,
        on_answers: Callable[[Answers], None] | None = None,
    ) -> Blocks:
        for _ in range(ATTEMPTS):
            with self._open_source() as session:
                server = server_version(session)
                (user,) = session.execute("SELECT current_user::text").fetchone() or ("",)
                snapshot = export_snapshot(session)
                if on_answers:
                    on_answers(self._ask_source(snapshot, details, queries or {}))
                with closing(self._run_pg_dump(details, server, user, snapshot)) as blocks:
                    first = _first(blocks)
                    if first is not None:
                        # pg_dump has locked the tables itself by now, and ours were never lost before.
                        session.execute("SELECT")
                        yield first
                        yield from blocks
                        return
        raise DatabaseError(
            f"In each of {ATTEMPTS} attempts something else was waiting for a table that had to be dumped.",
            untouched="No backup was recorded.",
            fix="Run again when no migration is under way.",
        )

    def _ask_source(self, snapshot: str, details: DatabaseDetails, queries: Mapping[str, str]) -> Answers:
        with self._open_source() as session:
            import_snapshot(session, snapshot)
            left_out = set(details.excluded_data)
            tables = [table for table in list_tables(session, "r") if table not in left_out]
            return ask(session, tables, queries, snapshot=snapshot)

    def answers(self, name: str, details: DatabaseDetails, tables: Sequence[str] = ()) -> Answers:
        with self.live.to(name).open() as session:
            session.execute(BEGIN)
            wanted = [table for table in details.row_counts if not tables or table in tables]
            queries = {} if tables else {probe.name: probe.query for probe in details.probes}
            return ask(session, wanted, queries, counted_to=details.counted_to)

    def _run_pg_dump(self, details: DatabaseDetails, server: str, user: str, snapshot: str) -> Blocks:
        pg_dump = self._pg_dump(server)
        pg_restore = find_client("pg_restore", server_major=pg_dump.major, bin_dir=self._bin_dir)
        require_major(pg_restore, pg_dump.major, reason=f"{pg_dump.path} is version {pg_dump.version}")
        options = [f"--exclude-table-data={table}" for table in details.excluded_data]
        options += [f"--snapshot={snapshot}", f"--lock-wait-timeout={self.lock_seconds * 1000}"]
        with client_access(self.source, self._scratch) as access:
            argv = [str(pg_dump.path), "--format=custom", "--compress=0", *access.arguments, *options]
            # The archive tells its time without a zone: a drill compares it.
            env = {**access.env, "TZ": "UTC"}
            output = process_output(argv, env=env, pass_fds=access.pass_fds)
            try:
                with closing(checked_toc(output, pg_restore.path)) as blocks:
                    yield from blocks
            except ToolError as error:
                raise _explained(error, self.alias, user) from None

    def held_up_by(self) -> str:
        with self.source.open() as session:
            return lock_holders(session)

    def tables(self, name: str) -> tuple[str, ...]:
        with self.live.to(name).open() as session:
            return list_tables(session)

    def place(self) -> str:
        with self.live.maintenance() as session:
            return f"{system_identifier(session)}/{self.live.name}"

    def target(self) -> Target:
        return restoring.look_at_target(self.live)

    def obstacles(self, part: DatabasePart, details: DatabaseDetails) -> list[str]:
        return find_obstacles(self.live, part, details, self._bin_dir)

    def surroundings(self, part: DatabasePart, details: DatabaseDetails) -> Surroundings:
        return look_round(self.live, part, details, self._bin_dir)

    def in_place_obstacles(self, part: DatabasePart, details: DatabaseDetails, blocks: Blocks) -> list[str]:
        """Why the dump ``blocks``, of which the head is read, cannot replace what is in the live database."""
        with self.live.open() as session:
            server = major_of(server_version(session))
        entries: tuple[Entry, ...] = ()
        with closing(blocks):
            pg_restore = find_client("pg_restore", server_major=server, bin_dir=self._bin_dir)
            if pg_restore.major >= major_of(part.dump_version):  # an older one cannot read it, and is told
                _, entries = read_contents(blocks, pg_restore.path)
        return find_in_place_obstacles(
            self.live, part, details, entries, excluded=self._excluded, bin_dir=self._bin_dir
        )

    def restore_in_place(
        self, blocks: Blocks, details: DatabaseDetails, wanted: Wanted, scratch: Path
    ) -> tuple[str, ...]:
        """Replaces all that is in the live database, in one transaction. See ``in_place``."""
        return restore_in_place(
            self.live, blocks, details, wanted=wanted, scratch=scratch, bin_dir=self._bin_dir
        )

    def aside_name(self, word: str, stamp: str) -> str:
        return aside_name(self.live.name, word, stamp)

    def create_side(self, side: str, details: DatabaseDetails) -> None:
        restoring.create_side(self.live, side, details)

    def load(
        self,
        side: str,
        blocks: Blocks,
        *,
        raw_bytes: int,
        scratch: Path,
        jobs: int,
        analyze: bool = True,
        wanted: Wanted = WHOLE,
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

    def seal_side(self, side: str, details: DatabaseDetails) -> None:
        restoring.seal_side(self.live, side, details)

    def swap(self, side: str, before: str, details: DatabaseDetails) -> None:
        swap_databases(self.live, side, before, details)

    def swap_back(self, before: str, aside: str) -> None:
        swap_back_databases(self.live, before, aside)

    def exists(self, name: str) -> bool:
        with self.live.maintenance() as session:
            return session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 1

    def idle_sides(self) -> list[str]:
        """Sides of this database that nobody is connected to: killed restores leave such."""
        return restoring.idle_sides(self.live)

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
        restoring.drop(self.live, name)


def _is_replica(session: psycopg.Connection[Any]) -> bool:
    return session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)


def _first(blocks: Blocks) -> bytes | None:
    """The first block of a dump; ``None`` where ``pg_dump`` waited too long for a lock: before its first byte
    it takes them all."""
    try:
        return next(blocks)
    except ToolError as error:
        # The words before are in the server's language, the query is not.
        if "LOCK TABLE" in error.stderr_tail and "permission denied" not in error.stderr_tail:
            return None
        raise


def _explained(error: ToolError, alias: str, user: str) -> ToolError:
    """The failure on one line with its way out, by the program's words where they are known."""
    text = one_line(_QUERY.sub("", str(error)))
    if "row-level security" in text or "row security" in text:
        fix = f"Grant the role: ALTER ROLE {user} BYPASSRLS; or dump with a role that has it."
    elif "permission denied" in text:
        fix = f"Grant the role: GRANT pg_read_all_data TO {user}; then run again."
    elif error.exit_status_of_tool == -signal.SIGKILL:
        fix = "The system may have run out of memory: look into its log (dmesg), then run again."
    elif not (fix := way_out(text, alias=alias)):
        fix = "Mend what pg_dump complains of, then run again."
    return type(error)(
        text,
        untouched="No backup was recorded.",
        fix=fix,
        stderr_tail=error.stderr_tail,
        exit_status_of_tool=error.exit_status_of_tool,
    )
