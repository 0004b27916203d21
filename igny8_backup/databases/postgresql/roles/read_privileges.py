"""Find the schemas, tables, sequences and rows that the role for backups may not read.

``pg_dump`` fails at the first of them. The system checks use this module to report all of them before the
next backup.
"""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.conf import Problem
from igny8_backup.databases.names import quoted, table_name
from igny8_backup.databases.postgresql.introspection import list_tables
from igny8_backup.databases.quoting import identifier
from igny8_backup.databases.session import Session

SHOWN = 5
"""The largest number of names in a message."""

# The tables whose policies apply to the current role. They do not apply to superusers, to roles with
# BYPASSRLS and, unless forced, to the owner of the table (PostgreSQL docs, 5.9 and 9.27.7).
_ROW_SECURITY = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relrowsecurity AND row_security_active(c.oid)"""

# pg_dump locks and reads plain and partitioned tables, even those whose rows are excluded (LOCK TABLE needs
# SELECT), and sequences. It reads views from the catalog, which every role may read.
_UNREADABLE = """
    SELECT n.nspname, c.relname, c.relkind = 'S', has_schema_privilege(n.oid, 'USAGE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
      AND NOT (has_schema_privilege(n.oid, 'USAGE')
               AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                                  ELSE has_table_privilege(c.oid, 'SELECT') END)"""


@dataclass(frozen=True, kw_only=True)
class PermissionGaps:
    """The objects that ``role`` cannot back up.

    ``hidden`` are the ``schema.table`` names of the tables with rows that row-level security may hide.
    ``unreadable`` has items such as ``table public.item``, ``sequence public.item_id_seq``, ``schema shop``.
    """

    role: str
    hidden: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def find_permission_gaps(session: Session, excluded: tuple[str, ...]) -> PermissionGaps:
    """Return the objects that the role of ``session`` cannot back up.

    Hidden rows of the ``excluded`` tables are ignored, because a dump leaves out the rows of these tables.
    """
    (role,) = session.execute("SELECT current_user::text").fetchone() or ("",)
    secured = {table_name(schema, table) for schema, table in session.execute(_ROW_SECURITY)}
    hidden = sorted(secured.intersection(list_tables(session, "r")).difference(excluded))
    unreadable = set()
    for schema, name, is_sequence, usable in session.execute(_UNREADABLE):
        kind = "sequence" if is_sequence else "table"
        unreadable.add(f"{kind} {table_name(schema, name)}" if usable else f"schema {quoted(schema)}")
    return PermissionGaps(role=role, hidden=tuple(hidden), unreadable=tuple(sorted(unreadable)))


def reader_hint(statement: str, *, dedicated: bool) -> str:
    """Return the hint that says how to let backups read everything.

    ``statement`` is SQL that grants the missing rights to the role of backups. The hint contains it only if
    that role is ``dedicated`` to backups. If it is the role of the application, the hint advises a new role:
    the application must not see all rows.
    """
    if dedicated:
        return f"As a superuser: `{statement}`"
    return (
        "The role of the application should not have such rights. As a superuser, create a role for backups:"
        " `CREATE ROLE igny8_backup LOGIN PASSWORD '...' BYPASSRLS IN ROLE pg_read_all_data;` and name it in"
        " DBBACKUP_CONNECTORS."
    )


def permission_problems(alias: str, gaps: PermissionGaps, *, dedicated: bool) -> list[Problem]:
    """Return a problem (E042) if ``gaps`` has unreadable objects, and another one if it has hidden rows.

    ``dedicated``: the role makes backups only, so it is not that of the application.
    """
    role, unreadable, hidden = identifier(gaps.role), _shorten(gaps.unreadable), _shorten(gaps.hidden)
    kinds = [
        (unreadable, f"The role {gaps.role} may not read", f"GRANT pg_read_all_data TO {role};"),
        (
            hidden,
            f"Row-level security hides rows from the role {gaps.role}:",
            f"ALTER ROLE {role} BYPASSRLS;",
        ),
    ]
    return [
        Problem(
            id="igny8_backup.E042",
            message=f"The database {alias!r} would not be backed up. {cause} {names}.",
            hint=reader_hint(statement, dedicated=dedicated),
        )
        for names, cause, statement in kinds
        if names
    ]


def _shorten(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
