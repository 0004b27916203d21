"""Run ``pg_dump`` as a stream, and count rows and run probes in the same snapshot."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from igny8_backup.databases.engine import OnAnswers, Queries
from igny8_backup.databases.postgresql.client_access import client_access
from igny8_backup.databases.postgresql.clients import Client, find_client, major_of, require_major
from igny8_backup.databases.postgresql.connection import Connection, is_pooled
from igny8_backup.databases.postgresql.dump.excluded_tables import find_excluded
from igny8_backup.databases.postgresql.dump.snapshot import export_snapshot, import_snapshot, lock_holders
from igny8_backup.databases.postgresql.dump.toc_check import checked_toc
from igny8_backup.databases.postgresql.hints import hint_for, one_line, pooler_hint
from igny8_backup.databases.postgresql.introspection import describe, list_tables
from igny8_backup.databases.postgresql.permissions import PermissionGaps, find_permission_gaps
from igny8_backup.databases.postgresql.probes import ask
from igny8_backup.databases.session import Session
from igny8_backup.databases.values import Answers, Versions
from igny8_backup.errors import DatabaseError, RefusedError, ToolError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.streams import Blocks
from igny8_backup.streams.process import process_output

ATTEMPTS = 5

# pg_dump repeats its query after an error, and the query that locks all tables names each of them.
_QUERY = re.compile(r"\s*^pg_dump: detail: Query was: .*", re.MULTILINE | re.DOTALL)


class Dumper:
    """The methods of ``Engine`` that back up a database; ``Engine`` documents them.

    Every method may raise ``DatabaseError``, and ``RefusedError`` if ``source`` leads to a connection pooler.
    """

    def __init__(
        self, source: Connection, *, excluded: Sequence[str], bin_dir: Path | None, scratch: Path
    ) -> None:
        """Dump the database of ``source``, the connection for backups.

        ``excluded`` is ``EXCLUDE`` of ``DBBACKUP_CONNECTORS``, ``bin_dir`` the setting ``CLIENT_BIN_DIR``.
        Passfiles are written in ``scratch``.
        """
        self._source = source
        self._excluded = tuple(excluded)
        self._bin_dir = bin_dir
        self._scratch = scratch

    def versions(self) -> Versions:
        with self._open() as session:
            server = session.server_version_text
        return Versions(server=server, tool=self._pg_dump(server).version)

    def permission_gaps(self, excluded: Sequence[str]) -> PermissionGaps:
        """Return what the role may not read; hidden rows of ``excluded`` tables are ignored."""
        with self._open() as session:
            return find_permission_gaps(session, self._find_excluded(session, excluded))

    def describe(self, excluded: Sequence[str]) -> DatabaseDetails:
        with self._open() as session:
            return describe(session, self._source.alias, self._find_excluded(session, excluded))

    def dump(
        self, details: DatabaseDetails, queries: Queries, on_answers: OnAnswers | None, lock_seconds: float
    ) -> Blocks:
        """Yield the dump of the database that ``details`` describe; arguments as for ``Engine.dump``.

        A session exports the snapshot and locks all tables until ``pg_dump`` has locked them too. If
        ``pg_dump`` waits longer than ``lock_seconds`` for a lock, because a third session has requested an
        exclusive lock in the meantime, the dump starts over with a new snapshot.
        """
        for _ in range(ATTEMPTS):
            with self._open() as session:
                server = session.server_version_text
                (user,) = session.execute("SELECT current_user::text").fetchone() or ("",)
                snapshot = export_snapshot(session)
                if on_answers:
                    on_answers(self._ask_source(snapshot, details, queries))
                with closing(self._run_pg_dump(details, server, user, snapshot, lock_seconds)) as blocks:
                    first = _first_block(blocks)
                    if first is not None:
                        # Now pg_dump holds its own locks. This query fails if the session, and with it the
                        # first locks, was lost in the meantime: then a table may be incomplete.
                        session.execute("SELECT")
                        yield first
                        yield from blocks
                        return
        raise DatabaseError(
            f"In each of {ATTEMPTS} attempts another session was waiting to change a table that had to be"
            " dumped.",
            unchanged="No backup was recorded.",
            hint="Run again when no migration is running.",
        )

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

    def _ask_source(self, snapshot: str, details: DatabaseDetails, queries: Queries) -> Answers:
        with self._open() as session:
            import_snapshot(session, snapshot)
            excluded = set(details.excluded_data)
            tables = [table for table in list_tables(session, "r") if table not in excluded]
            return replace(ask(session, tables, queries), snapshot=snapshot)

    def _run_pg_dump(
        self, details: DatabaseDetails, server: str, user: str, snapshot: str, lock_seconds: float
    ) -> Blocks:
        pg_dump = self._pg_dump(server)
        pg_restore = find_client("pg_restore", server_major=pg_dump.major, bin_dir=self._bin_dir)
        require_major(pg_restore, pg_dump.major, reason=f"{pg_dump.path} is version {pg_dump.version}")
        options = [f"--exclude-table-data={table}" for table in details.excluded_data]
        options += [f"--snapshot={snapshot}", f"--lock-wait-timeout={int(lock_seconds * 1000)}"]
        with client_access(self._source, self._scratch) as access:
            argv = [str(pg_dump.path), "--format=custom", "--compress=0", *access.arguments, *options]
            # The archive records the local time without its zone, and drills read that time.
            env = {**access.env, "TZ": "UTC"}
            output = process_output(argv, env=env, pass_fds=access.pass_fds)
            try:
                with closing(checked_toc(output, pg_restore.path)) as blocks:
                    yield from blocks
            except ToolError as error:
                raise _with_hint(error, self._source.alias, user) from None

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
            yield session


def _first_block(blocks: Blocks) -> bytes | None:
    """Return the first block of a dump, or ``None`` if ``pg_dump`` waited too long for a lock.

    ``pg_dump`` locks all tables before it writes its first byte.
    """
    try:
        return next(blocks)
    except ToolError as error:
        # The error message may be in another language, but the query that pg_dump repeats is SQL.
        if "LOCK TABLE" in error.stderr_tail and "permission denied" not in error.stderr_tail:
            return None
        raise


def _with_hint(error: ToolError, alias: str, user: str) -> ToolError:
    """Return a copy of the error of ``pg_dump``, on one line and with a hint."""
    text = one_line(_QUERY.sub("", error.what))
    if "row-level security" in text or "row security" in text:
        hint = f"Grant the role: ALTER ROLE {user} BYPASSRLS; or dump with a role that has it."
    elif "permission denied" in text:
        hint = f"Grant the role: GRANT pg_read_all_data TO {user}; then run again."
    elif error.exit_status_of_tool == -signal.SIGKILL:
        hint = "The system may have run out of memory: check its log (dmesg), then run again."
    elif not (hint := hint_for(text, alias=alias)):
        hint = "Remove the cause that pg_dump reports, then run again."
    return type(error)(
        text,
        unchanged="No backup was recorded.",
        hint=hint,
        stderr_tail=error.stderr_tail,
        exit_status_of_tool=error.exit_status_of_tool,
    )
