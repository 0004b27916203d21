"""Divide the entries of an archive among the steps of a restore: :func:`divide`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from igny8_backup.databases.postgresql.restore.archive.tables import TableSelection
from igny8_backup.databases.postgresql.restore.archive.toc import Entry

_PRIVILEGES = ("ACL", "DEFAULT ACL")
_CODE = ("FUNCTION", "OPERATOR CLASS")
_WITH_EXPRESSIONS = ("DOMAIN", "OPERATOR", "TABLE", "TYPE")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The entries of the main archive in the order of a restore.

    Those in ``first`` and ``late`` have no rows, and are restored from the table of contents. Those in
    ``streamed`` are restored while the archive is read, at the same time as the data archives. Some ``late``
    ones can be restored earlier: see :func:`indexes_of`.
    """

    first: tuple[Entry, ...]
    streamed: tuple[Entry, ...]
    late: tuple[Entry, ...]


def divide(entries: Sequence[Entry], *, jobs: int, data: bool) -> Steps:
    """Divide ``entries`` among the steps of a restore with ``jobs`` connections.

    ``data``: the dump has data archives.
    """
    late = {entry.number for entry in entries if entry.post_data and (data or jobs > 1)}
    first = set[int]()
    if data:
        # Privileges come last, as in one run of pg_restore: they may forbid the owner to insert rows.
        late |= {entry.number for entry in entries if entry.kind in _PRIVILEGES}
        first = {entry.number for entry in entries if not entry.data} - late
    return Steps(
        first=tuple(entry for entry in entries if entry.number in first),
        streamed=tuple(entry for entry in entries if entry.number not in first | late),
        late=tuple(entry for entry in entries if entry.number in late),
    )


def indexes_of(late: Sequence[Entry], entries: Sequence[Entry], rows: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return those ``late`` entries that can be restored once ``rows``, the rows of some tables, are there.

    These are the plain indexes that need nothing but these tables. ``entries`` are all of the main archive.
    """
    filled = {(entry.schema, entry.name) for entry in rows if entry.kind == "TABLE DATA"}
    tables = {
        entry.number for entry in entries if entry.kind == "TABLE" and (entry.schema, entry.name) in filled
    }
    return tuple(entry for entry in late if entry.plain_index and entry.needs and entry.needs <= tables)


def row_entries(entries: Sequence[Entry], selected: TableSelection) -> tuple[Entry, ...]:
    """Return those ``entries`` of a data archive that have rows of the ``selected`` tables.

    Entries with the values of sequences are left out. ``pg_dump`` adds them to a data archive together with
    the tables that own the sequences, but the main archive has them too.
    """
    return tuple(
        entry
        for entry in entries
        if entry.kind == "TABLE DATA"
        and (selected.filled is None or (entry.schema, entry.name) in selected.filled)
    )


def needs_other_rows(streamed: Sequence[Entry], entries: Sequence[Entry]) -> bool:
    """Return whether the ``streamed`` rows may only be restored after those of the data archives.

    A function may check or compute some of them, and may read other tables: see :mod:`dump.placement`.
    ``entries`` are all of the main archive. Some tables only have defaults that call functions, which a
    restore of rows does not; they count, too.
    """
    reached = {entry.number for entry in entries if entry.kind in _CODE}
    new = reached
    while new:
        new = {
            entry.number
            for entry in entries
            if entry.kind in _WITH_EXPRESSIONS and entry.number not in reached and entry.needs & new
        }
        reached = reached | new
    tables = {
        (entry.schema, entry.name) for entry in entries if entry.kind == "TABLE" and entry.number in reached
    }
    return any(entry.kind == "TABLE DATA" and (entry.schema, entry.name) in tables for entry in streamed)
