"""Split a restore with several jobs into two runs of ``pg_restore``.

The first run loads rows and builds indexes as soon as their table is loaded, on connections that would be
idle while the largest table is loaded. Not every entry may come that early. A trigger of a partitioned table
only waits for that table, which has no rows of its own, and would fire while the partitions are loaded; a
function may read any table. So the first run takes what is slow and waits for everything it reads, and the
second run takes the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from igny8_backup.databases.postgresql.restore.archive_toc import Entry


def split_phases(
    entries: Sequence[Entry], post_data: AbstractSet[int], unique: AbstractSet[int]
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Divide ``entries`` between two runs, each in the original order.

    ``post_data`` are the numbers of the entries that ``pg_restore`` assigns to that section, ``unique`` those
    of primary and unique keys. Of post-data the first run takes an index or unique key that depends on
    nothing but one table whose rows are restored: no function, operator or type of the database, which might
    read other tables. The index of a partition depends on that of its table and comes in the second run. So
    do other constraints, whose dependencies the listing does not show: an exclusion constraint may need a
    function, and NOT NULL is checked in inheriting tables too.
    """
    tables = {entry.number for entry in entries if entry.label.startswith("TABLE ")}
    row_needs = (entry.needs for entry in entries if entry.label.startswith("TABLE DATA "))
    with_rows = tables & frozenset().union(*row_needs)
    early = {
        entry.number
        for entry in entries
        if (entry.label.startswith("INDEX ") or entry.number in unique)
        and len(entry.needs) == 1
        and entry.needs <= with_rows
    }
    late = post_data - early
    return (
        tuple(entry for entry in entries if entry.number not in late),
        tuple(entry for entry in entries if entry.number in late),
    )
