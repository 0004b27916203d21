"""Run ``pg_dump`` as a stream, and count rows and run probes in the same snapshot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from igny8_backup.conf import Problem
from igny8_backup.databases.dump_streams import DumpStreams, Placement
from igny8_backup.databases.engine import OnAnswers, Queries
from igny8_backup.databases.postgresql.client_access import client_access
from igny8_backup.databases.postgresql.clients import Client, find_client, major_of, require_major
from igny8_backup.databases.postgresql.connections.connection import Connection, is_pooled
from igny8_backup.databases.postgresql.dump.dump_sessions import DumpSessions
from igny8_backup.databases.postgresql.dump.excluded_tables import find_excluded
from igny8_backup.databases.postgresql.dump.failure import explain, is_refused_lock
from igny8_backup.databases.postgresql.dump.placement import archive_options, place_tables
from igny8_backup.databases.postgresql.dump.replay_time import replay_time
from igny8_backup.databases.postgresql.dump.snapshot import export_snapshot, import_snapshot, lock_holders
from igny8_backup.databases.postgresql.dump.toc_check import checked_toc
from igny8_backup.databases.postgresql.hints import pooler_hint
from igny8_backup.databases.postgresql.introspection import describe, list_tables
from igny8_backup.databases.postgresql.probes import ask
from igny8_backup.databases.postgresql.roles.access import with_access
from igny8_backup.databases.postgresql.roles.limits import limit_blockers, sessions_of_dump
from igny8_backup.databases.postgresql.roles.read_privileges import find_permission_gaps, permission_problems
from igny8_backup.databases.session import Session
from igny8_backup.databases.values import Answers, Versions
from igny8_backup.errors import DatabaseError, RefusedError, ToolError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.streams import Blocks
from igny8_backup.streams.process import process_output

ATTEMPTS = 5


class Dumper:
    """The methods of ``Engine`` that back up a database; ``Engine`` documents them.

    Every method may raise ``DatabaseError``. Every method except ``blocking_sessions`` raises
    ``RefusedError`` if ``source`` leads to a connection pooler.
    """

    def __init__(
        self,
        source: Connection,
        *,
        dedicated: bool,
        excluded: Sequence[str],
        bin_dir: Path | None,
        scratch: Path,
    ) -> None:
        """Dump the database of ``source``, the connection for backups.

        ``dedicated``: the role of ``source`` makes backups only, so it is not that of the application.
        ``excluded`` is ``EXCLUDE`` of ``DBBACKUP_CONNECTORS``, ``bin_dir`` is the setting
        ``CLIENT_BIN_DIR``. Passfiles are written in ``scratch``.
        """
        self._source = source
        self._dedicated = dedicated
        self._excluded = tuple(excluded)
        self._bin_dir = bin_dir
        self._scratch = scratch
        self.sessions = DumpSessions(source)

    def versions(self) -> Versions:
        with self._open() as session:
            server = session.server_version_text
        return Versions(server=server, tool=self._pg_dump(server).version)

    def problems(self, excluded: Sequence[str], *, yielding: bool, jobs: int) -> list[Problem]:
        """Return what would make a backup fail: missing rights (E042), and too few sessions (E043).

        The rows of ``excluded`` tables are not dumped, so the role need not have the right to see them. A
        ``yielding`` backup has one more session, which looks for other sessions that wait for it. Too few
        sessions for all ``jobs`` do not make a backup fail, but they are reported, too.
        """
        self.versions()
        alias = self._source.alias
        with self._open() as session:
            gaps = find_permission_gaps(session, self._find_excluded(session, excluded))
            needed, in_database = sessions_of_dump(jobs, yielding=yielding)
            limits = limit_blockers(session, session.dbname, needed=needed, in_database=in_database)
            needed, in_database = sessions_of_dump(1, yielding=yielding)
            fails = limit_blockers(session, session.dbname, needed=needed, in_database=in_database)
        effect = f"would be dumped over fewer than {jobs} connections (DUMP_JOBS)"
        if fails:
            effect = "would not be backed up completely"
        return permission_problems(alias, gaps, dedicated=self._dedicated) + [
            Problem(
                id="igny8_backup.E043",
                message=f"The database {alias!r} {effect}. {problem}.",
                hint=f"{remedy[0].upper()}{remedy[1:]}",
            )
            for problem, _, remedy in (text.partition(": ") for text in limits)
        ]

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        with self._open() as session:
            return describe(session, self._source.alias, self._find_excluded(session, excluded))

    @contextmanager
    def open_archives(
        self,
        details: DatabaseDetails,
        queries: Queries,
        on_answers: OnAnswers | None,
        lock_seconds: float,
        *,
        wanted: int = 1,
        placement: Placement | None = None,
    ) -> Iterator[DumpStreams]:
        """Dump the database that ``details`` describe; yield the streams of the archives.

        Up to ``wanted - 1`` data archives have the rows of some tables: of those in ``placement`` if it is
        given. All archives show the same instant, and may be read in several threads.
        ``on_answers`` is called with the tables, the row counts and the results of the probes ``queries``,
        read in the snapshot of the dump.

        A session exports the snapshot and locks all tables; it holds the locks until the context ends. If a
        ``pg_dump`` waits longer than ``lock_seconds`` for a lock, because a third session has requested an
        exclusive lock in the meantime, the dump starts over with a new snapshot.
        """
        for _ in range(ATTEMPTS):
            with self._open() as session, ExitStack() as stack:
                server = session.server_version_text
                data_time = replay_time(session)  # before the snapshot: never later than its data
                snapshot = export_snapshot(session)
                # No table is renamed or dropped from here on, because the session has locked all of them.
                placed = place_tables(session, details.excluded_data, wanted, placement) if wanted > 1 else ()
                if on_answers:
                    answers = self._ask_source(session, snapshot, details, queries)
                    on_answers(replace(answers, data_time=data_time))
                started = time.monotonic()
                self.sessions.programs = 1 + len(placed)
                streams = [
                    stack.enter_context(closing(self._run_pg_dump(server, snapshot, lock_seconds, options)))
                    for options in archive_options(details, placed)
                ]
                try:
                    # pg_dump locks all tables of an archive before it writes the first byte.
                    first = [next(blocks) for blocks in streams]
                except ToolError as error:
                    seconds = time.monotonic() - started
                    gaps = find_permission_gaps(session, details.excluded_data)
                    if seconds >= lock_seconds and is_refused_lock(error) and not gaps.unreadable:
                        continue
                    raise self._explain(error, details) from None
                # This query fails if the session, and with it the first locks, was lost in the meantime: then
                # a table may be incomplete.
                session.execute("SELECT")
                archives = [
                    self._explained(block, blocks, details)
                    for block, blocks in zip(first, streams, strict=True)
                ]
                yield DumpStreams(archives, placed)
                return
        raise DatabaseError(
            f"pg_dump could not lock all tables in any of {ATTEMPTS} attempts, because another session held"
            " or awaited an exclusive lock on one of them, as a migration does.",
            unchanged="Nothing was dumped.",
            hint="Run the backup again when no migration is running.",
        )

    def _explained(self, first: bytes, blocks: Blocks, details: DatabaseDetails) -> Blocks:
        """Yield ``first`` and ``blocks``. If ``pg_dump`` fails, raise its error with an explanation."""
        try:
            yield first
            yield from blocks
        except ToolError as error:
            raise self._explain(error, details) from None

    def blocking_sessions(self) -> str:
        with self._source.open() as session:
            return lock_holders(session)

    def _find_excluded(self, session: Session, excluded: Sequence[str]) -> tuple[str, ...]:
        alias = self._source.alias
        setting = f"IGNY8_BACKUP['EXCLUDE_TABLE_DATA'][{alias!r}] (or EXCLUDE of DBBACKUP_CONNECTORS)"
        return find_excluded(session, tuple(dict.fromkeys((*excluded, *self._excluded))), setting)

    def _pg_dump(self, server: str) -> Client:
        client = find_client("pg_dump", server_major=major_of(server), bin_dir=self._bin_dir)
        require_major(
            client, major_of(server), reason=f"the server of {self._source.alias!r} is version {server}"
        )
        return client

    def _ask_source(
        self, exporter: Session, snapshot: str, details: DatabaseDetails, queries: Queries
    ) -> Answers:
        """Count rows and run probes in a separate session that uses ``snapshot``.

        ``exporter`` is the session that exported ``snapshot``. If the separate session fails, the dump goes
        on, and the answers contain the reason instead of the counts and results.
        """
        tables = list_tables(exporter)
        excluded = set(details.excluded_data)
        counted = [table for table in list_tables(exporter, "r") if table not in excluded]
        try:
            with self._open() as session:
                import_snapshot(session, snapshot)
                answers = with_access(ask(session, counted, queries), session)
        except DatabaseError as error:
            reason = " ".join(filter(None, (error.what, error.parts[2])))
            answers = Answers(
                uncounted=dict.fromkeys(counted, reason), unasked=dict.fromkeys(queries, reason)
            )
        return replace(answers, snapshot=snapshot, tables=tables)

    def _run_pg_dump(self, server: str, snapshot: str, lock_seconds: float, options: Sequence[str]) -> Blocks:
        pg_dump = self._pg_dump(server)
        pg_restore = find_client("pg_restore", server_major=pg_dump.major, bin_dir=self._bin_dir)
        require_major(pg_restore, pg_dump.major, reason=f"{pg_dump.path} is version {pg_dump.version}")
        options = [*options, f"--snapshot={snapshot}", f"--lock-wait-timeout={int(lock_seconds * 1000)}"]
        with client_access(self._source, self._scratch) as access:
            argv = [str(pg_dump.path), "--format=custom", "--compress=0", *access.arguments, *options]
            # The archive records the local time without its zone, and drills read that time.
            env = {**access.env, "TZ": "UTC", "PGAPPNAME": self.sessions.program_name}
            output = process_output(argv, env=env, pass_fds=access.pass_fds)
            with closing(checked_toc(output, pg_restore.path)) as blocks:
                yield from blocks

    def _explain(self, error: ToolError, details: DatabaseDetails) -> ToolError:
        return explain(error, self._source, details.excluded_data, dedicated=self._dedicated)

    @contextmanager
    def _open(self) -> Iterator[Session]:
        """Open a session with the connection for backups. Raises ``RefusedError`` if it leads to a pooler."""
        with self._source.open() as session:
            if is_pooled(session):
                raise RefusedError(
                    f"{self._source.where} is a connection pooler (PgBouncer or similar), but a dump needs a"
                    " direct session with the server.",
                    unchanged="Nothing was read or written.",
                    hint=f"To bypass the pooler, {pooler_hint(self._source.alias)}",
                )
            with self.sessions.includes(session):
                yield session
