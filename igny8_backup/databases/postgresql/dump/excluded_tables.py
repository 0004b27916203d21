"""Find the tables whose rows are left out of a dump."""

from __future__ import annotations

from collections.abc import Sequence

from igny8_backup.databases.names import table_name
from igny8_backup.databases.session import InvalidName, Session
from igny8_backup.errors import RefusedError

# A table, its partitions and its inheriting tables. Excluding a table excludes all of these, as DELETE FROM
# would; pg_dump before version 16 excludes the rows of the named table only.
_FAMILY = """
    WITH RECURSIVE family(oid) AS (
      SELECT %s::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON f.oid = i.inhparent)
    SELECT c.oid, n.nspname, c.relname FROM family JOIN pg_class c USING (oid)
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm')
    ORDER BY c.oid <> %s, 2, 3"""

# The foreign keys that a restore could not create, because referencing rows are in the dump and the
# referenced rows are not. Constraints that are NOT VALID are omitted: a restore does not check them.
_BROKEN_KEYS = """
    SELECT n.nspname, c.relname, fn.nspname, f.relname FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
    WHERE k.contype = 'f' AND k.convalidated AND k.confrelid = ANY (%(tables)s::oid[])
      AND NOT k.conrelid = ANY (%(tables)s::oid[]) ORDER BY k.conparentid <> 0, 1, 2, 3, 4 LIMIT 1"""

# On a replica, unlogged tables have no rows, and pg_dump does not report that.
_UNLOGGED_ON_REPLICA = """
    SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE pg_is_in_recovery() AND c.relpersistence = 'u' AND c.relkind IN ('r', 'm') ORDER BY 2, 3"""


def find_excluded(session: Session, tables: Sequence[str], setting: str) -> tuple[str, ...]:
    """Return the ``schema.table`` names of all tables whose rows are left out.

    These are ``tables`` (names as in SQL), their partitions and inheriting tables, and on a replica all
    unlogged tables. ``setting`` is the name of the setting for error messages. Raises :class:`RefusedError`
    if one of ``tables`` does not exist. Also raises it if rows that are dumped reference rows that are left
    out, because the foreign key could not be restored.
    """
    found: dict[int, str] = {}
    for table in tables:
        oid = _oid(session, table)
        family = session.execute(_FAMILY, [oid, oid]).fetchall() if oid else []
        if not family or family[0][0] != oid:
            raise RefusedError(
                f"{setting} names {table!r}, which is not a table of this database.",
                unchanged="Nothing was dumped.",
                hint="Correct the name; add the schema if the search path does not include it.",
            )
        found |= {member: table_name(schema, name) for member, schema, name in family}
    broken = session.execute(_BROKEN_KEYS, {"tables": list(found)}).fetchone()
    if broken is not None:
        referencing, referenced = table_name(*broken[:2]), table_name(*broken[2:])
        raise RefusedError(
            f"{setting} leaves out the rows of {referenced}, which rows of {referencing} reference: such a"
            " backup could never be restored.",
            unchanged="Nothing was dumped.",
            hint=f"Remove {referenced} from the setting, or add {referencing} as well.",
        )
    found |= {oid: table_name(schema, name) for oid, schema, name in session.execute(_UNLOGGED_ON_REPLICA)}
    return tuple(found.values())


def _oid(session: Session, table: str) -> int | None:
    try:
        (oid,) = session.execute("SELECT to_regclass(%s)::oid", [table]).fetchone() or (None,)
    except InvalidName:
        return None  # not a valid name in SQL
    return None if oid is None else int(oid)
