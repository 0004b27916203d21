"""Read the keys about databases.

They are DATABASES, EXCLUDE_TABLE_DATA, CHUNKED_DUMPS, FULL_EVERY, SANITIZERS and PROBES.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

from igny8_backup.conf.model import FULL_EVERY, SETTING
from igny8_backup.conf.parser import Reader
from igny8_backup.formats import keys

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+(?<!\.sql)")

_UNSTABLE = re.compile(
    r"\b(now|today|tomorrow|yesterday|current_(date|time|timestamp)|local(time|timestamp)|timeofday|random|"
    r"(clock|statement|transaction)_timestamp|gen_random_uuid|uuidv[47]|txid_current|pg_current_\w+)\b",
    re.IGNORECASE,
)
"""SQL functions whose result differs from call to call, so that a drill could not compare it."""


def read_databases(reader: Reader) -> tuple[str, ...]:
    """Return the aliases to back up.

    The default is every alias that has an ``ENGINE`` and does not mirror another one in tests.
    """
    known = {
        alias: database
        for alias, database in settings.DATABASES.items()
        if database.get("ENGINE", "django.db.backends.dummy") != "django.db.backends.dummy"
    }
    primaries = tuple(alias for alias in known if not (known[alias].get("TEST") or {}).get("MIRROR"))
    chosen = tuple(reader.take("DATABASES", (list, tuple), primaries))
    for alias in chosen:
        if not isinstance(alias, str) or alias not in known:
            reader.wrong(
                "E007",
                f"{SETTING}['DATABASES'] names {alias!r}, which DATABASES does not have.",
                f"Choose among: {', '.join(known) or 'none'}.",
            )
        elif not keys.is_name(alias):
            reader.wrong(
                "E007",
                f"The database alias {alias!r} cannot be part of the name of an object in storage.",
                "Rename it in DATABASES: letters, digits, - and _ only.",
            )
    return tuple(dict.fromkeys(map(str, chosen)))


def read_excluded(reader: Reader) -> dict[str, tuple[str, ...]]:
    """Return, for each alias, the tables whose rows are left out of dumps."""
    found: dict[Any, Any] = reader.take("EXCLUDE_TABLE_DATA", dict, {})
    for alias, tables in found.items():
        if alias not in settings.DATABASES:
            reader.wrong(
                "E009",
                f"{SETTING}['EXCLUDE_TABLE_DATA'] names {alias!r}, which DATABASES does not have.",
                f"Choose among: {', '.join(settings.DATABASES)}.",
            )
            return {}
        if not isinstance(tables, (list, tuple)) or not all(isinstance(name, str) for name in tables):
            reader.wrong(
                "E009",
                f"{SETTING}['EXCLUDE_TABLE_DATA'][{alias!r}] is not a list of table names.",
                'Write {"default": ["django_session"]}.',
            )
            return {}
    return {str(alias): tuple(tables) for alias, tables in found.items()}


def read_chunked(reader: Reader, databases: tuple[str, ...]) -> tuple[str, ...]:
    """Return the aliases whose dumps are stored as chunks."""
    found = tuple(reader.take("CHUNKED_DUMPS", (list, tuple), ()))
    for alias in found:
        if alias not in databases:
            reader.wrong(
                "E046",
                f"{SETTING}['CHUNKED_DUMPS'] names {alias!r}, which is not backed up.",
                f"Choose among: {', '.join(databases) or 'none'}.",
            )
            return ()
    return found


def read_full_every(reader: Reader) -> timedelta:
    """Return how often a dump in chunks is a full one."""
    found: timedelta = reader.take("FULL_EVERY", timedelta, FULL_EVERY)
    if found > timedelta():
        return found
    reader.wrong(
        "E047",
        f"{SETTING}['FULL_EVERY'] is {found!r}, not a positive timedelta.",
        "Write timedelta(days=7).",
    )
    return FULL_EVERY


def read_sanitizers(reader: Reader) -> dict[str, tuple[str, ...]]:
    """Return, for each alias, its sanitizers: dotted paths of callables and absolute paths of SQL files."""
    sanitizers: dict[str, tuple[str, ...]] = {}
    for alias, listed in reader.take("SANITIZERS", dict, {}).items():
        if alias not in settings.DATABASES or not isinstance(listed, (list, tuple)):
            reader.wrong(
                "E013",
                f"{SETTING}['SANITIZERS'][{alias!r}] is not a list for an alias of DATABASES.",
                'Write {"default": ["igny8_backup.sanitizers.users", "/path/of/more.sql"]}.',
            )
            continue
        for item in listed:
            text = str(item)
            if not (_DOTTED.fullmatch(text) or (text.endswith(".sql") and Path(text).is_absolute())):
                reader.wrong(
                    "E013",
                    f"{SETTING}['SANITIZERS'][{alias!r}] has {text!r}, which is neither the dotted path of a"
                    " callable nor the absolute path of a file that ends with .sql.",
                    'Write "app.module.callable", or the absolute path of the file.',
                )
        sanitizers[alias] = tuple(map(str, listed))
    return sanitizers


def read_probes(reader: Reader, databases: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Return, for each alias, its probes: SQL queries by name.

    If a single database is backed up, the setting may map names to queries without an alias.
    """
    found: dict[Any, Any] = reader.take("PROBES", dict, {})
    if not databases:
        return {}  # this host only monitors and prunes backups of others
    by_alias = {databases[0]: found} if found and len(databases) == 1 else found
    if len(databases) == 1 and all(isinstance(value, dict) for value in found.values()):
        by_alias = found
    for alias, queries in by_alias.items():
        if alias not in databases or not isinstance(queries, dict):
            why = "does not map an alias of DATABASES to its probes"
        elif wrong := [
            name
            for name, query in queries.items()
            if not isinstance(name, str) or not query or not isinstance(query, str) or not name
        ]:
            why = f"has an entry without a name or without a query: {wrong[0]!r}"
        elif unstable := [name for name, query in queries.items() if _UNSTABLE.search(query)]:
            why = f"has {unstable[0]!r}, whose result depends on the time or on chance"
        else:
            continue
        reader.wrong(
            "E019",
            f"{SETTING}['PROBES'] {why}.",
            'Write {"invoice total": "SELECT count(*), sum(total) FROM billing_invoice"}; for several'
            ' databases, {"default": {...}}. Do not use now(), random() and similar functions.',
        )
        return {}
    return by_alias
