"""Split a restore with several jobs into two runs of ``pg_restore``.

The first run loads rows, and builds each index as soon as its table is loaded, on connections that would be
idle while the largest table is loaded. Other entries must not be restored that early. For example,
``pg_restore`` may restore a trigger of a partitioned table before the rows of its partitions, and then the
trigger fires for them; a function may read any table. So the second run restores all entries that may depend
on more than one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from igny8_backup.databases.postgresql.restore.archive_toc import Entry


def split_phases(
    entries: Sequence[Entry], post_data: AbstractSet[int], unique: AbstractSet[int]
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Divide ``entries`` between two runs, each in the original order.

    ``post_data`` are the numbers of the entries in the section post-data, ``unique`` those of primary and
    unique keys. The first run restores everything that is not post-data, and those indexes and unique keys
    that depend on exactly one table with rows and on nothing else. The second run restores the other entries.
    """
    # A function, operator or type might read other tables, and the index of a partition depends on the index
    # of its table. All other constraints come late, because the table of contents does not show all their
    # dependencies: an exclusion constraint may need a function, and NOT NULL is also checked in inheriting
    # tables.
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
