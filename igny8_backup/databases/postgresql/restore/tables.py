"""Select the entries of an archive that restore some tables, with the entries on which they depend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.restore.archive_toc import Entry
from igny8_backup.errors import IntegrityError, UsageError

# The kinds of entries, with which their labels begin.
_TABLE = "TABLE "
_ATTACH = "TABLE ATTACH "
_ROWS = "TABLE DATA "
_FOREIGN_KEY = "FK CONSTRAINT "
_OF_A_TABLE = ("DEFAULT ", "CONSTRAINT ", "CHECK CONSTRAINT ", "INDEX ", "SEQUENCE ", "STATISTICS ", _ROWS)
_OF_SELECTED_ENTRIES = (_ATTACH, "INDEX ATTACH ", "SEQUENCE OWNED BY ", "SEQUENCE SET ", "COMMENT ")
_LEFT_OUT = (_FOREIGN_KEY, "TRIGGER ", "RULE ", "POLICY ")


@dataclass(frozen=True)
class TableSelection:
    """The entries of an archive to restore, and the labels of entries that are left out.

    An event trigger or a foreign key to a table that is not restored is left out, for example.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]


def select_tables(entries: Sequence[Entry], tables: Sequence[str], owners: Sequence[str]) -> TableSelection:
    """Select the entries that restore ``tables`` (``schema.table``) and their partitions.

    These entries are definitions, rows, indexes and constraints, and the types, functions and schemas on
    which they depend. A foreign key is included if both its tables are. ``owners`` are the roles that may own
    a table; they are needed to find the end of a name in a label. Raises :class:`UsageError` for a
    materialized view.
    """
    table_numbers = {entry.label: entry.number for entry in entries if entry.label.startswith(_TABLE)}
    chosen = {_find_table(entries, table, owners) for table in tables}
    attached = set()
    pending = set(chosen)
    while pending:
        parent = pending.pop()
        for entry in entries:
            if entry.label.startswith(_ATTACH) and parent in entry.needs:
                child = table_numbers.get(f"{_TABLE}{entry.label.removeprefix(_ATTACH)}")
                if child is not None and child != parent:
                    attached.add(entry.number)
                    pending |= {child} - chosen
                    chosen.add(child)
    own = {entry.number for entry in entries if entry.label.startswith(_OF_A_TABLE) and entry.needs & chosen}
    selected = _with_dependencies(chosen | attached | own, entries)
    without_rows = {number for number in table_numbers.values() if number in selected} - chosen
    for entry in entries:  # an archive has each entry after those on which it depends
        if (
            entry.label.startswith(_OF_SELECTED_ENTRIES)
            or (entry.label.startswith(_FOREIGN_KEY) and not entry.needs & without_rows)
        ) and entry.needs <= selected:
            selected.add(entry.number)
    names = {_without_owner(label, owners) for label, number in table_numbers.items() if number in chosen}
    own_labels = tuple(kind + name for kind in _LEFT_OUT for name in names)
    return TableSelection(
        entries=tuple(entry for entry in entries if entry.number in selected),
        left_out=tuple(
            entry.label
            for entry in entries
            if entry.number not in selected and entry.label.startswith(own_labels)
        ),
    )


def _without_owner(label: str, owners: Sequence[str]) -> str:
    """Remove kind and owner: return ``public item `` for the label ``TABLE public item igny8``."""
    name = label.removeprefix(_TABLE)
    return next((name.removesuffix(owner) for owner in owners if name.endswith(f" {owner}")), name)


def _find_table(entries: Sequence[Entry], table: str, owners: Sequence[str]) -> int:
    """Return the number of the entry that defines ``table`` (``schema.table``).

    ``owners`` are the roles that may own the table. Raises :class:`UsageError` for a materialized view,
    :class:`IntegrityError` if no entry defines the table.
    """
    schema, name = split_table_name(table)
    numbers = {entry.label: entry.number for entry in entries}
    for owner in owners:
        if (number := numbers.get(f"TABLE {schema} {name} {owner}")) is not None:
            return number
        if f"MATERIALIZED VIEW {schema} {name} {owner}" in numbers:
            raise UsageError(
                f"{table} is a materialized view, which has rows only if its tables have them.",
                hint="Name the tables that it reads, or restore the whole database without --table.",
            )
    raise IntegrityError(
        f"The dump lacks the table {table}, which the details of the backup name.",
        unchanged="Nothing live was changed.",
        hint="Choose another backup: list_backups.",
    )


def _with_dependencies(numbers: Iterable[int], entries: Sequence[Entry]) -> set[int]:
    """Return ``numbers`` and the numbers of all entries on which those entries depend."""
    needs = {entry.number: entry.needs for entry in entries}
    found: set[int] = set()
    pending = list(numbers)
    while pending:
        number = pending.pop()
        if number in needs and number not in found:
            found.add(number)
            pending += needs[number]
    return found
