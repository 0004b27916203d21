"""Leave out the entries of an archive that would fail, or be wrong, without the rows that are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from igny8_backup.databases.names import split_table_name
from igny8_backup.databases.postgresql.restore.archive.tables import TableSelection
from igny8_backup.databases.postgresql.restore.archive.toc import Entry
from igny8_backup.databases.values import LostData

_REFRESH = "MATERIALIZED VIEW DATA"
_FOREIGN_KEY = "FK CONSTRAINT"


def without_lost_rows(selected: TableSelection, entries: Sequence[Entry], lost: LostData) -> TableSelection:
    """Return ``selected`` without the ``lost`` data, foreign keys to tables without their rows, and the
    contents of materialized views that read such tables.

    ``entries`` are all entries of the archive. The tables themselves stay, without rows. The labels of the
    entries that are left out include those of the rows in data archives that cannot be read at all.
    """
    named = {split_table_name(name) for name in lost.tables}
    tables = {one.number: (one.schema, one.name) for one in entries if one.kind == "TABLE"}
    without_rows = {number for number, name in tables.items() if name in named}
    reading = _readers(entries, set(tables), without_rows)

    def is_lost(entry: Entry) -> bool:
        if entry.number in lost.entries or (entry.kind == _REFRESH and entry.needs & reading):
            return True
        own = {
            number
            for number, (schema, name) in tables.items()
            if schema == entry.schema and entry.name.startswith(f"{name} ")
        }
        return entry.kind == _FOREIGN_KEY and bool(entry.needs & reading & tables.keys() - own)

    left_out = _unreadable_rows(selected, lost)
    left_out += [entry.label for entry in selected.entries if is_lost(entry)]
    return replace(
        selected,
        entries=tuple(entry for entry in selected.entries if not is_lost(entry)),
        left_out=(*selected.left_out, *left_out),
    )


def _unreadable_rows(selected: TableSelection, lost: LostData) -> list[str]:
    """Return the labels that the entries with rows in the unreadable data archives have there."""
    if not lost.archives:
        return []
    named = {split_table_name(name) for name in lost.tables if name not in lost.found}
    if selected.filled is not None:
        named &= selected.filled
    tables = [one for one in selected.entries if one.kind == "TABLE" and (one.schema, one.name) in named]
    return [replace(one, kind="TABLE DATA").label for one in tables]


def _readers(entries: Sequence[Entry], tables: set[int], without_rows: set[int]) -> set[int]:
    """Return the numbers of the tables that lack rows, and of all tables and views that show these rows.

    ``without_rows`` are the numbers of the tables whose rows are lost, ``tables`` those of all tables.
    """
    reading, before = set(without_rows), -1
    while len(reading) > before:
        before = len(reading)
        for entry in entries:
            if entry.kind in ("VIEW", "MATERIALIZED VIEW") and entry.needs & reading:
                reading.add(entry.number)
            elif (entry.kind == "TABLE" and entry.number in reading) or (
                entry.kind == "TABLE ATTACH" and entry.needs & reading
            ):
                reading |= entry.needs & tables  # a partitioned table has the rows of its partitions
    return reading
