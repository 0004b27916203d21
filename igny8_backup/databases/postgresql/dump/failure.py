"""Explain why ``pg_dump`` failed.

A server may report errors in any language, so the text of its messages may not reveal the cause. This module
also looks for the cause in the system catalogs and in the SQL statement that ``pg_dump`` prints after an
error.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from contextlib import suppress

from igny8_backup.common.humanize import size_in_words
from igny8_backup.databases.names import quoted
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.dump.snapshot import locks_hint
from igny8_backup.databases.postgresql.hints import hint_for, one_line
from igny8_backup.databases.postgresql.introspection import list_tables
from igny8_backup.databases.postgresql.lock_table import read_lock_table
from igny8_backup.databases.postgresql.roles.read_privileges import (
    PermissionGaps,
    find_permission_gaps,
    reader_hint,
)
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import DriverError, Session
from igny8_backup.errors import BackupError, ToolError

ROW_BYTES = (1 << 30) - 1
"""The largest row, as text, that the server can output (``MaxAllocSize`` in PostgreSQL's sources)."""

# pg_dump repeats its query after an error, and the query that locks all tables names each of them.
_QUERY = re.compile(r"\s*^pg_dump: detail: Query was: .*", re.MULTILINE | re.DOTALL)
_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^\s".]+)'
_COPY = re.compile(rf"\bCOPY (?P<table>{_IDENTIFIER}\.{_IDENTIFIER}) ")

# The advice of the server to switch the policy off (ALTER TABLE ... NO FORCE ROW LEVEL SECURITY), which is in
# the second field of its message.
_ADVICE = re.compile(r" [^\W\d_]+ ?: [^:]*NO FORCE ROW LEVEL SECURITY.*")

# The columns of variable length.
_COLUMNS = """
    SELECT a.attname::text, a.atttypid::regtype::text FROM pg_attribute a
    WHERE a.attrelid = %s::regclass AND a.attlen = -1 AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attgenerated = '' ORDER BY a.attnum"""

# The size of a value as text. These functions do not read values that are stored out of line. bytea is
# written with two digits for each byte. For other types the result is the stored size, perhaps compressed.
_SIZES = {
    "bytea": "2 + 2 * octet_length({})::bigint",
    "text": "octet_length({})::bigint",
    "character varying": "octet_length({})::bigint",
}
_OTHER_SIZE = "pg_column_size({})::bigint"

SEARCH_SECONDS = 300
"""The time limit for the search for a row that is too large."""


def is_refused_lock(error: ToolError) -> bool:
    """Return whether ``pg_dump`` failed while it locked the tables, for example because of its time limit."""
    return "LOCK TABLE" in error.stderr_tail


def explain(error: ToolError, source: Connection, excluded: Sequence[str], *, dedicated: bool) -> ToolError:
    """Return a copy of the error of ``pg_dump``, on one line, with the cause if it is found, and with a hint.

    ``source`` is the connection of the dump, ``excluded`` are the tables whose rows are left out.
    ``dedicated``: the role makes backups only, so it is not that of the application.
    """
    text = one_line(_QUERY.sub("", error.what))
    gaps, large, locks = PermissionGaps(role=""), "", ""
    with suppress(BackupError), source.open() as session:
        gaps = find_permission_gaps(session, tuple(excluded))
        large = _large_row(session, error.stderr_tail)
        locks = _missing_locks(session, error)
    role = identifier(gaps.role)
    if error.exit_status_of_tool == -signal.SIGKILL:
        hint = "The system may have run out of memory: check its log (dmesg), then run again."
    elif gaps.unreadable:
        hint = reader_hint(f"GRANT pg_read_all_data TO {role};", dedicated=dedicated)
    elif gaps.hidden:
        text = _ADVICE.sub("", text)
        hint = reader_hint(f"ALTER ROLE {role} BYPASSRLS;", dedicated=dedicated)
    elif locks:
        text, hint = f"{text} The server has too little room for locks.", locks
    elif large:
        text = f"{text} {large}"
        hint = (
            "Store such values in files or in several rows. Until then, back up the rest: add the table to"
            f" IGNY8_BACKUP['EXCLUDE_TABLE_DATA'][{source.alias!r}]."
        )
    else:
        known = hint_for(text, alias=source.alias)
        hint = known or "Remove the cause that pg_dump reports, then run again."
    return type(error)(
        text,
        hint=hint,
        stderr_tail=error.stderr_tail,
        exit_status_of_tool=error.exit_status_of_tool,
    )


def _missing_locks(session: Session, error: ToolError) -> str:
    """Return how to make room for more locks, if the server lacked room when ``pg_dump`` locked the tables.

    Returns an empty string for other failures.
    """
    if not is_refused_lock(error):
        return ""
    tables, table = len(list_tables(session)), read_lock_table(session)
    full = tables + table.used > table.capacity(shared=True)
    return locks_hint(session, tables) if full else ""


def _large_row(session: Session, stderr: str) -> str:
    """Describe the largest row of the table that ``pg_dump`` was copying, if PostgreSQL cannot output it.

    Returns an empty string for other failures.
    """
    match = _COPY.search(stderr)
    if match is None:
        return ""
    table = match["table"]
    try:
        columns = [
            (name, _SIZES.get(kind, _OTHER_SIZE).format(identifier(name)))
            for name, kind in session.execute(_COLUMNS, [table])
        ]
        sizes = [f"coalesce({size}, 0)" for _, size in columns]
        listed, order = ", ".join(sizes), " + ".join(sizes)
        query = f"SELECT ctid::text, {listed} FROM ONLY {table} ORDER BY {order} DESC LIMIT 1"  # noqa: S608 - quoted by pg_dump and identifier()
        with session.transaction():
            session.execute(f"SET LOCAL statement_timeout = '{SEARCH_SECONDS}s'")
            place, *found = session.execute(query).fetchone() or ("", 0)
    except DriverError:
        return ""
    if sum(found) < ROW_BYTES:
        return ""
    largest = columns[found.index(max(found))][0]
    return (
        f"A row of {table} (ctid {place}) is too large: as text it has {size_in_words(sum(found))}, most of"
        f" it in the column {quoted(largest)}, and PostgreSQL cannot output a row of more than"
        f" {size_in_words(ROW_BYTES)}. A value of bytea takes two characters for each byte."
    )
