"""Names of databases that a restore makes beside the live one, and names of tables as we write them."""

from __future__ import annotations

import hashlib
import re

SIDE, BEFORE, DRILL = "side", "before", "drill"

NAME_BYTES = 63
"""``NAMEDATALEN - 1``: PostgreSQL silently cuts longer names (PostgreSQL docs, 4.1.1)."""

_TAIL = re.compile(r"__(?P<word>side|before|drill)_(?P<stamp>\d{8}T\d{6}Z)\Z")
_NAMES = re.compile(r'"(?:[^"]|"")*"|[^."]+')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


def previous_name(name: str, word: str, stamp: str) -> str:
    """``name__side_20261122T021500Z``, under 64 bytes: a long name is cut and told apart by a digest."""
    tail = f"__{word}_{stamp}"
    room = NAME_BYTES - len(tail)
    if len(name.encode()) > room:
        digest = hashlib.sha256(name.encode()).hexdigest()[:6]
        name = name.encode()[: room - 7].decode(errors="ignore") + "_" + digest
    return name + tail


def is_previous_name(found: str, name: str) -> bool:
    """Whether ``found`` is a name that :func:`previous_name` gives beside ``name``."""
    match = _TAIL.search(found)
    return match is not None and found == previous_name(name, match["word"], match["stamp"])


def is_staging_name(found: str, name: str) -> bool:
    """Whether ``found`` is the name of a database that is being made to be called ``name``."""
    match = _TAIL.search(found)
    return match is not None and match["word"] == SIDE and is_previous_name(found, name)


def is_drill_name(found: str, name: str) -> bool:
    """Whether ``found`` is a database that a drill made beside ``name``."""
    match = _TAIL.search(found)
    return match is not None and match["word"] == DRILL and is_previous_name(found, name)


def table_name(schema: str, table: str) -> str:
    """``schema.table``, each quoted unless it is plain lower case.

    The server's own ``quote_ident`` will not do: what it quotes depends on its version's keywords, and names
    of two servers are compared. As a pattern of ``pg_dump`` it means this table and no other.
    """
    return f"{quoted(schema)}.{quoted(table)}"


def quoted(name: str) -> str:
    """A name as it is written in SQL, by the rule of :func:`table_name`."""
    return name if _PLAIN.match(name) else '"' + name.replace('"', '""') + '"'


def split_table_name(whole: str) -> tuple[str, str]:
    """Schema and table as the server has them: the inverse of :func:`table_name`."""
    schema, table = (match[0] for match in _NAMES.finditer(whole))
    return _unquoted(schema), _unquoted(table)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
