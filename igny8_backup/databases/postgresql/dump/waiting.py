"""What holds up our sessions in a database, as far as the server can tell."""

from __future__ import annotations

from typing import Any

import psycopg

# The name, the role and the number of a session are shown to everybody (PostgreSQL docs, 27.2.3); a prepared
# transaction holds locks without a session and has the number 0 (9.27).
_HOLDERS = """
    SELECT holder, coalesce(min(b.application_name), ''), coalesce(min(b.usename::text), ''),
      coalesce(min(b.backend_type), ''), coalesce(min(l.relation::regclass::text), '')
    FROM pg_stat_activity w CROSS JOIN unnest(pg_blocking_pids(w.pid)) holder
    LEFT JOIN pg_stat_activity b ON b.pid = holder
    LEFT JOIN pg_locks l ON l.pid = w.pid AND NOT l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE w.datname = current_database() AND w.application_name = 'igny8_backup'
    GROUP BY holder ORDER BY holder"""


def lock_holders(session: psycopg.Connection[Any]) -> str:
    """Who holds the locks that our sessions in this database wait for: a sentence, empty if none waits."""
    found = []
    for pid, program, role, kind, relation in session.execute(_HOLDERS):
        if pid == 0:
            who = "a prepared transaction (see pg_prepared_xacts)"
        else:
            told = [word for word in (program, f"role {role}" if role else kind) if word]
            who = f"process {pid} ({', '.join(told)}; to end it: SELECT pg_terminate_backend({pid});)"
        found.append(f"a lock{f' on {relation}' if relation else ''} is held by {who}")
    text = "; ".join(found)
    return f"{text[0].upper()}{text[1:]}." if text else ""
