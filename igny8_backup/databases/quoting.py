"""Quote names and values for SQL, and parameters for a connection string, without a database driver."""

from __future__ import annotations

import re
from collections.abc import Mapping


def identifier(*names: str) -> str:
    """Return quoted names, joined with dots, such as ``"public"."item"`` (PostgreSQL docs, 4.1.1)."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(value: str | int | None) -> str:
    """Return a value as a literal for SQL (PostgreSQL docs, 4.1.2); ``None`` becomes NULL.

    The result has the same meaning whether ``standard_conforming_strings`` is on or off.
    """
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    quoted = "'" + value.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


def conninfo(parameters: Mapping[str, object]) -> str:
    """Return a connection string for libpq, such as ``host=db user='a b'`` (PostgreSQL docs, 34.1.1.1)."""

    def value(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace("'", "\\'")
        return escaped if escaped and not re.search(r"\s", escaped) else f"'{escaped}'"

    return " ".join(f"{key}={value(str(given))}" for key, given in parameters.items())
