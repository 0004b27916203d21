"""Single tables of a dump: which entries of the archive they are, and what they need to exist alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.restore.archive_toc import Entry
from igny8_backup.errors import IntegrityError, UsageError

# Kinds of entries, as the words of an entry begin.
_ATTACH = "TABLE ATTACH "
_ROWS = "TABLE DATA "
_FOREIGN_KEY = "FK CONSTRAINT "
_OF_A_TABLE = ("DEFAULT ", "CONSTRAINT ", "CHECK CONSTRAINT ", "INDEX ", "SEQUENCE ", "STATISTICS ")
_AFTER_THOSE = (_ATTACH, "INDEX ATTACH ", "SEQUENCE OWNED BY ", "SEQUENCE SET ", "COMMENT ")
_LEFT_OUT = (_FOREIGN_KEY, "TRIGGER ", "RULE ", "POLICY ")


@dataclass(frozen=True)
class TableSelection:
    """The entries to restore, and what belongs to the tables and is left out, as ``pg_restore`` lists it."""

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]


def take_tables(entries: Sequence[Entry], tables: Sequence[str], owners: Sequence[str]) -> TableSelection:
    """What of an archive makes these ``tables`` (whole names) and their partitions: definitions, rows,
    indexes and constraints, and the types, functions and schemas that these need.

    Foreign keys come where the tables at both ends do. ``owners`` are the roles that may own a table: they
    tell where its name ends. Raises :class:`UsageError` for a materialized view.
    """
    tables_of = {entry.words: entry.number for entry in entries if entry.words.startswith("TABLE ")}
    chosen = {_number(entries, table, owners) for table in tables}
    attached = set()
    pending = set(chosen)
    while pending:
        parent = pending.pop()
        for entry in entries:
            if entry.words.startswith(_ATTACH) and parent in entry.needs:
                child = tables_of.get(f"TABLE {entry.words.removeprefix(_ATTACH)}")
                if child is not None and child != parent:
                    attached.add(entry.number)
                    pending |= {child} - chosen
                    chosen.add(child)
    own = {entry.number for entry in entries if entry.words.startswith(_OF_A_TABLE) and entry.needs & chosen}
    own |= {entry.number for entry in entries if entry.words.startswith(_ROWS) and entry.needs & chosen}
    taken = _with_needs(chosen | attached | own, entries)
    without_rows = {number for number in tables_of.values() if number in taken} - chosen
    for entry in entries:  # each after what it needs
        if (
            entry.words.startswith(_AFTER_THOSE)
            or (entry.words.startswith(_FOREIGN_KEY) and not entry.needs & without_rows)
        ) and entry.needs <= taken:
            taken.add(entry.number)
    names = {_without_owner(words, owners) for words, number in tables_of.items() if number in chosen}
    own_words = tuple(kind + name for kind in _LEFT_OUT for name in names)
    return TableSelection(
        entries=tuple(entry for entry in entries if entry.number in taken),
        left_out=tuple(
            entry.words
            for entry in entries
            if entry.number not in taken and entry.words.startswith(own_words)
        ),
    )


def _without_owner(words: str, owners: Sequence[str]) -> str:
    """``public item `` of ``TABLE public item igny8``."""
    name = words.removeprefix("TABLE ")
    return next((name.removesuffix(owner) for owner in owners if name.endswith(f" {owner}")), name)


def _number(entries: Sequence[Entry], table: str, owners: Sequence[str]) -> int:
    """The entry that defines ``table``."""
    schema, name = split_table_name(table)
    numbers = {entry.words: entry.number for entry in entries}
    for owner in owners:
        if (number := numbers.get(f"TABLE {schema} {name} {owner}")) is not None:
            return number
        if f"MATERIALIZED VIEW {schema} {name} {owner}" in numbers:
            raise UsageError(
                f"{table} is a materialized view, which has rows only where its tables have them.",
                unchanged="Nothing was changed.",
                hint="Give the tables that it is made of, or restore the whole database without --table.",
            )
    raise IntegrityError(
        f"The dump does not have the table {table}, which the details of the backup name.",
        unchanged="Nothing live was changed.",
        hint="Choose another backup: list_backups.",
    )


def _with_needs(numbers: Iterable[int], entries: Sequence[Entry]) -> set[int]:
    """These entries and all that they need."""
    needs = {entry.number: entry.needs for entry in entries}
    found: set[int] = set()
    pending = list(numbers)
    while pending:
        number = pending.pop()
        if number in needs and number not in found:
            found.add(number)
            pending += needs[number]
    return found
