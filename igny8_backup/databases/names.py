"""Names of the databases that restores and drills (test restores) create, and names of tables.

A restore works in a staging database, and the database that it replaces becomes the previous database. The
names of both are derived from the name of the live database. Names of tables are ``schema.table`` everywhere
in this package.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from igny8_backup.errors import UsageError
from igny8_backup.formats.details import DatabaseDetails

STAGING, PREVIOUS, DRILL = "side", "before", "drill"
"""The words in the names of staging, previous and drill databases.

Existing databases and journals contain these words, so they must not change.
"""

NAME_BYTES = 63
"""``NAMEDATALEN - 1``: PostgreSQL silently truncates longer names (PostgreSQL docs, 4.1.1)."""

_TAIL = re.compile(r"__(?P<word>side|before|drill)_(?P<stamp>\d{8}T\d{6}Z)\Z")
_NAMES = re.compile(r'"(?:[^"]|"")*"|[^."]+')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


def derived_name(name: str, word: str, stamp: str) -> str:
    """Return a name like ``igny8__side_20261122T021500Z``, of at most :data:`NAME_BYTES` bytes.

    ``name`` is the name of the live database, ``word`` is ``STAGING``, ``PREVIOUS`` or ``DRILL``. A long name
    is truncated and a digest is added, so that two names with the same beginning do not collide.
    """
    tail = f"__{word}_{stamp}"
    available = NAME_BYTES - len(tail)
    if len(name.encode()) > available:
        digest = hashlib.sha256(name.encode()).hexdigest()[:6]
        name = name.encode()[: available - 7].decode(errors="ignore") + "_" + digest
    return name + tail


def is_derived_name(found: str, name: str, *words: str) -> bool:
    """Return whether :func:`derived_name` returns ``found`` for the live database ``name``.

    ``words`` are the accepted kinds of databases, such as ``STAGING``; without ``words``, all kinds.
    """
    match = _TAIL.search(found)
    return (
        match is not None
        and match["word"] in (words or (STAGING, PREVIOUS, DRILL))
        and found == derived_name(name, match["word"], match["stamp"])
    )


def table_name(schema: str, table: str) -> str:
    """Return ``schema.table``, with quotes around each name that is not plain lower case.

    Names from two servers must be comparable, so the server's ``quote_ident`` is not used: it also quotes the
    keywords of the server's version. As a pattern for ``pg_dump`` the result matches this table only.
    """
    return f"{quoted(schema)}.{quoted(table)}"


def quoted(name: str) -> str:
    """Return ``name`` with double quotes, unless it is plain lower case."""
    return name if _PLAIN.match(name) else '"' + name.replace('"', '""') + '"'


def split_table_name(full_name: str) -> tuple[str, str]:
    """Return the schema and the table, without quotes, of a name that :func:`table_name` returned."""
    schema, table = (match[0] for match in _NAMES.finditer(full_name))
    return _unquoted(schema), _unquoted(table)


def find_tables(details: DatabaseDetails, given: Sequence[str]) -> tuple[str, ...]:
    """Return the ``schema.table`` names of the tables ``given``, which a user names with or without schema.

    Raises :class:`UsageError` if the backup has no such table, or has it in more than one schema.
    """
    found = []
    for name in given:
        matches = [table for table in details.tables if table == name or table.endswith(f".{name}")]
        if len(matches) != 1:
            why = f"is in more than one schema: {', '.join(matches)}" if matches else "is not in the backup"
            example = matches[0] if matches else "public.billing_invoice"
            raise UsageError(
                f"The table {name!r} {why}.",
                hint=f"Give the name as in SQL, with its schema: --table {example}.",
            )
        found += matches
    return tuple(dict.fromkeys(found))


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
