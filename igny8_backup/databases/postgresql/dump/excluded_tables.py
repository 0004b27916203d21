"""Tables whose rows stay out of the dump: found, completed with partitions, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from igny8_backup.databases.names import table_name
from igny8_backup.errors import RefusedError

# A table means its partitions and heirs as well, as it does in SQL; pg_dump before 16 means the table alone.
_FAMILY = """
    WITH RECURSIVE family(oid) AS (
      SELECT %s::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON f.oid = i.inhparent)
    SELECT c.oid, n.nspname, c.relname FROM family JOIN pg_class c USING (oid)
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm')
    ORDER BY c.oid <> %s, 2, 3"""

# Foreign keys that a restore would find broken: their rows stay, those that they point to are left out.
# Constraints that were never checked are not checked by a restore either.
_BROKEN = """
    SELECT n.nspname, c.relname, fn.nspname, f.relname FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
    WHERE k.contype = 'f' AND k.convalidated AND k.confrelid = ANY (%(tables)s::oid[])
      AND NOT k.conrelid = ANY (%(tables)s::oid[]) ORDER BY k.conparentid <> 0, 1, 2, 3, 4 LIMIT 1"""

# A replica has no rows of unlogged tables, and pg_dump says nothing of it.
_LACKING = """
    SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE pg_is_in_recovery() AND c.relpersistence = 'u' AND c.relkind IN ('r', 'm') ORDER BY 2, 3"""


def find_excluded(session: psycopg.Connection[Any], tables: Sequence[str], setting: str) -> tuple[str, ...]:
    """The whole names of ``tables``, which are written as in SQL, of their partitions and heirs, and of what
    this server has no rows of.

    Raises :class:`RefusedError`, naming ``setting``, for what is no table and for tables that kept rows
    point to.
    """
    found: dict[int, str] = {}
    for table in tables:
        oid = _oid(session, table)
        family = session.execute(_FAMILY, [oid, oid]).fetchall() if oid else []
        if not family or family[0][0] != oid:
            raise RefusedError(
                f"{setting} names {table!r}, which is no table of this database.",
                unchanged="Nothing was dumped.",
                hint="Correct the name (with its schema where the search path does not lead there).",
            )
        found |= {member: table_name(schema, name) for member, schema, name in family}
    broken = session.execute(_BROKEN, {"tables": list(found)}).fetchone()
    if broken is not None:
        pointing, pointed = table_name(*broken[:2]), table_name(*broken[2:])
        raise RefusedError(
            f"{setting} leaves out the rows of {pointed}, which rows of {pointing} point to: such a backup"
            " could never be restored.",
            unchanged="Nothing was dumped.",
            hint=f"Remove {pointed} from the setting, or add {pointing} as well.",
        )
    found |= {oid: table_name(schema, name) for oid, schema, name in session.execute(_LACKING)}
    return tuple(found.values())


def _oid(session: psycopg.Connection[Any], table: str) -> int | None:
    try:
        (oid,) = session.execute("SELECT to_regclass(%s)::oid", [table]).fetchone() or (None,)
    except (psycopg.errors.InvalidName, psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported):
        return None  # not even the form of a name
    return oid
