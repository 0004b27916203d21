"""Select the entries of an archive that restore some tables, and all entries on which these depend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.restore.archive.toc import Entry
from igny8_backup.errors import IntegrityError, UsageError

_FOREIGN_KEY = "FK CONSTRAINT"
_OF_A_TABLE = {
    "DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT", "INDEX", "SEQUENCE", "STATISTICS", "TABLE DATA"
}  # fmt: skip
_OF_SELECTED_ENTRIES = {"TABLE ATTACH", "INDEX ATTACH", "SEQUENCE OWNED BY", "SEQUENCE SET", "COMMENT"}
_LEFT_OUT = {_FOREIGN_KEY, "TRIGGER", "RULE", "POLICY"}


@dataclass(frozen=True)
class TableSelection:
    """The entries of an archive to restore, and the labels of entries that are left out.

    For example, event triggers are left out, and so is a foreign key to a table that is not restored.
    ``filled`` are the schemas and names of the tables that are restored with their rows; ``None`` means all.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]
    filled: frozenset[tuple[str, str]] | None = None


def select_tables(entries: Sequence[Entry], tables: Sequence[str]) -> TableSelection:
    """Select the entries that restore ``tables`` (``schema.table``) and their partitions.

    These entries are definitions, rows, indexes and constraints, and the types, functions and schemas on
    which they depend. The planner's statistics are not among them: every restore collects them again, and
    they may contain code (CVE-2026-16238). A foreign key is included if both of its tables are restored with
    their rows. Raises :class:`UsageError` for a materialized view, :class:`IntegrityError` if no entry
    defines a table.
    """
    defined = {(entry.schema, entry.name): entry for entry in entries if entry.kind == "TABLE"}
    chosen = {_find_table(entries, table) for table in tables}
    attached = set()
    pending = set(chosen)
    while pending:
        parent = pending.pop()
        for entry in entries:
            if entry.kind == "TABLE ATTACH" and parent in entry.needs:
                child = defined.get((entry.schema, entry.name))
                if child is not None and child.number != parent:
                    attached.add(entry.number)
                    pending |= {child.number} - chosen
                    chosen.add(child.number)
    own = {entry.number for entry in entries if entry.kind in _OF_A_TABLE and entry.needs & chosen}
    selected = _with_dependencies(chosen | attached | own, entries)
    without_rows = {entry.number for entry in defined.values() if entry.number in selected} - chosen
    for entry in entries:  # an archive has each entry after those on which it depends
        if (
            entry.kind in _OF_SELECTED_ENTRIES
            or (entry.kind == _FOREIGN_KEY and not entry.needs & without_rows)
        ) and entry.needs <= selected:
            selected.add(entry.number)
    names = {(entry.schema, entry.name) for entry in defined.values() if entry.number in chosen}

    def is_left_out(entry: Entry) -> bool:
        # The name of such an entry is that of its table, a space and its own; names may contain spaces.
        parts = entry.name.split(" ")
        of_a_table = any((entry.schema, " ".join(parts[:n])) in names for n in range(1, len(parts)))
        return entry.kind in _LEFT_OUT and entry.number not in selected and of_a_table

    return TableSelection(
        entries=tuple(entry for entry in entries if entry.number in selected),
        left_out=tuple(entry.label for entry in entries if is_left_out(entry)),
        filled=frozenset(names),
    )


def _find_table(entries: Sequence[Entry], table: str) -> int:
    """Return the number of the entry that defines ``table`` (``schema.table``).

    Raises :class:`UsageError` for a materialized view, :class:`IntegrityError` if no entry defines the table.
    """
    name = split_table_name(table)
    kinds = {entry.kind: entry for entry in entries if (entry.schema, entry.name) == name}
    if found := kinds.get("TABLE"):
        return found.number
    if "MATERIALIZED VIEW" in kinds:
        raise UsageError(
            f"{table} is a materialized view, whose rows are computed from the rows of other tables.",
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
