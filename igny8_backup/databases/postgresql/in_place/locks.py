"""Estimate how many locks a restore in place needs, and how many the server can hold.

One transaction drops all old objects and creates all new ones, and it holds a lock on each of them until it
ends. The estimate is slightly too high. For example, a restore of an application with 198 tables, 741 indexes
and 520 foreign keys holds 8,500 locks, and the estimate is 8,900.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from igny8_backup.databases.postgresql.lock_table import read_lock_table
from igny8_backup.databases.postgresql.restore.archive.toc import Entry
from igny8_backup.databases.session import Session

_DROPPED = """
    SELECT (SELECT count(DISTINCT (classid, objid)) FROM pg_depend WHERE objid >= 16384)
         + (SELECT count(*) FROM pg_largeobject_metadata)"""

# The number of objects that belong to each extension. A dump has one entry for an extension with all of them.
_MEMBERS = """
    SELECT extname, (SELECT count(*) FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass
                     AND d.refobjid = e.oid AND d.deptype = 'e')
    FROM pg_extension e"""
_MEMBERS_IF_UNKNOWN = 500  # more than any extension that comes with PostgreSQL has; isn has most, 463

# Creating a relation locks it. Servers with the minor releases of 2026 also lock every object to which a new
# object refers, such as types, functions, operators and constraints, so that no other session drops it
# (dependencyLockAndCheckObject in PostgreSQL's dependency.c). A table needs four locks: for itself, its row
# type, its TOAST table and the index of that table. A materialized view needs ten, for its two entries,
# because it is built again when it is refreshed.
_LOCKS = {
    "TABLE": 4, "SEQUENCE": 1, "INDEX": 1, "CONSTRAINT": 2, "FK CONSTRAINT": 1, "TRIGGER": 1, "DEFAULT": 1,
    "TABLE DATA": 0, "SEQUENCE SET": 0, "SEQUENCE OWNED BY": 0, "ACL": 0, "COMMENT": 0, "BLOBS": 0,
}  # fmt: skip
_LOCKS_OF_OTHERS = 5
_MORE = 300  # for the server's catalogs and for sessions that start later
_LARGE_OBJECTS = re.compile(r"(\d+)(?:\.\.(\d+))?")
_LARGE_OBJECTS_OF_AN_ENTRY = 1000  # at most: MAX_BLOBS_PER_ARCHIVE_ENTRY of pg_dump


def locks_needed(session: Session, entries: Sequence[Entry]) -> int:
    """Return an upper limit of the number of locks that the transaction of a restore holds at its end.

    The transaction locks the objects that it drops and those that it creates from ``entries``.
    """
    (dropped,) = session.execute(_DROPPED).fetchone() or (0,)
    members: dict[str, int] = dict(session.execute(_MEMBERS).fetchall())
    created = sum(
        _LOCKS.get(entry.kind, _LOCKS_OF_OTHERS) + _large_objects(entry) + _extension_members(entry, members)
        for entry in entries
    )
    return int(dropped) + created + _MORE


def lock_blockers(session: Session, entries: Sequence[Entry]) -> list[str]:
    """Return a reason against a restore in place if the server has room for too few locks, else nothing.

    The restore creates ``entries``. The reason names the setting to change.
    """
    needed, table = locks_needed(session, entries), read_lock_table(session)
    if needed + table.used <= table.capacity():
        return []
    return [
        f"The transaction would need about {needed} locks, one or more for each table, index, large object"
        f" and so on, but the server has room for {table.capacity() - table.used}: as a superuser, run"
        f" ALTER SYSTEM SET max_locks_per_transaction = {table.setting_for(needed)}; and restart the server."
        " Or restore without --in-place, with a role that may create databases."
    ]


def _extension_members(entry: Entry, members: dict[str, int]) -> int:
    """Return the number of objects that belong to the extension of ``entry``; 0 for other kinds of entries.

    ``members`` has the numbers for the extensions of the live database. The dump usually has the same
    extensions. For an extension that the live database lacks, a high number is assumed.
    """
    return members.get(entry.name, _MEMBERS_IF_UNKNOWN) if entry.kind == "EXTENSION" else 0


def _large_objects(entry: Entry) -> int:
    match = _LARGE_OBJECTS.fullmatch(entry.name)
    if match is None or entry.kind not in ("BLOB", "BLOB METADATA"):
        return 0
    first, last = int(match[1]), int(match[2] or match[1])
    return min(last - first + 1, _LARGE_OBJECTS_OF_AN_ENTRY)
