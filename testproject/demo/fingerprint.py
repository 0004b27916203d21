"""The content of a database and of a folder as values that can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

TABLES = """
SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_'
 ORDER BY 1, 2
"""
# The sum of the rows' hashes does not depend on their order, which a restore does not keep.
ROWS = """
SELECT count(*), coalesce(sum(hashtextextended(one_row::text, 0)::numeric), 0) FROM {} AS one_row
"""
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
OURS = "relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'reporting'))"
OBJECTS = {
    "relations": f"SELECT relkind::text, relname FROM pg_class WHERE {OURS}",
    "columns": f"""SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
        attgenerated::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE {OURS} AND attnum > 0 AND NOT attisdropped""",
    "indexes": f"""SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index
        JOIN pg_class ON pg_class.oid = indexrelid WHERE {OURS}""",
    # By name: PostgreSQL writes some conditions in other words after a restore.
    "constraints": f"""SELECT relname, conname, contype::text, convalidated FROM pg_constraint
        JOIN pg_class ON pg_class.oid = conrelid WHERE {OURS}""",
    "triggers": "SELECT pg_get_triggerdef(oid), tgenabled::text FROM pg_trigger WHERE NOT tgisinternal",
    "functions": """SELECT pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'""",
    "views": f"SELECT relname, pg_get_viewdef(oid) FROM pg_class WHERE {OURS} AND relkind IN ('v', 'm')",
    "labels": "SELECT enumtypid::regtype::text, enumlabel, enumsortorder FROM pg_enum",
    "comments": f"""SELECT relname, objsubid, description FROM pg_description
        JOIN pg_class ON pg_class.oid = objoid WHERE {OURS}""",
}
MONEY = {
    "invoices": "SELECT sum(total) FROM billing_invoice",
    "payments": "SELECT sum(amount) FROM billing_payment",
    "credits": "SELECT sum(balance) FROM billing_creditledger",
}

KEPT_BY_A_RESTORE = b".before-"


def of_database(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return the count and hash of each table's rows, the value of each sequence, each object, and the
    sums."""
    found: dict[str, Any] = {}
    for schema, table in connection.execute(TABLES).fetchall():
        rows = sql.SQL(ROWS).format(sql.Identifier(schema, table))
        found[f"table {schema}.{table}"] = connection.execute(rows).fetchone()
    for schema, name, last in connection.execute(SEQUENCES).fetchall():
        found[f"sequence {schema}.{name}"] = last
    for kind, query in OBJECTS.items():
        found[f"the {kind}"] = sorted(map(repr, connection.execute(query.encode()).fetchall()))
    for what, query in MONEY.items():
        row = connection.execute(query.encode()).fetchone()
        found[f"money in {what}"] = row[0] if row else None
    return found


def rows_in(fingerprint: dict[str, Any]) -> int:
    """Return the number of rows in all tables."""
    return sum(value[0] for name, value in fingerprint.items() if name.startswith("table "))


def of_tree(root: Path) -> dict[str, Any]:
    """Return everything below the root: kind, mode, owner, time to the nanosecond, contents, links.

    Names that share an inode are told by the first of them. What a restore keeps of the state before it, in
    ``.before-...`` at the root, is no part of the tree.
    """
    first: dict[tuple[int, int], bytes] = {}
    found: dict[str, Any] = {}
    for path in _below(os.fsencode(root)):
        entry = os.lstat(path)
        name = os.path.relpath(path, os.fsencode(root))
        what: list[Any] = [oct(entry.st_mode), entry.st_uid, entry.st_gid, entry.st_mtime_ns]
        if stat.S_ISLNK(entry.st_mode):
            what.append(os.readlink(path))
        elif stat.S_ISREG(entry.st_mode):
            with open(path, "rb") as file:
                what.append(hashlib.file_digest(file, "sha256").hexdigest())
            what.append(first.setdefault((entry.st_dev, entry.st_ino), name))
        found[repr(name)] = tuple(what)
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a line for each name with different values."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            lines.append(f"{name} is missing")
        elif name not in before:
            lines.append(f"{name} was not there before")
        elif before[name] != after[name]:
            lines.append(f"{name} was {_short(before[name])} and is {_short(after[name])}")
    return lines


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."


def _below(root: bytes) -> Iterator[bytes]:
    for folder, folders, files in os.walk(root):
        # os.walk counts a link to a folder among the folders; it does not follow it.
        if folder == root:
            folders[:] = [name for name in folders if not name.startswith(KEPT_BY_A_RESTORE)]
        yield from (os.path.join(folder, name) for name in sorted((*folders, *files)))
