"""Split a restore with several jobs into two runs of ``pg_restore``.

The first run loads rows, and builds each index as soon as its table is loaded, on connections that would be
idle while the largest table is loaded. Other entries must not be restored that early. For example,
``pg_restore`` may restore a trigger of a partitioned table before the rows of its partitions, and then the
trigger fires for them; a function may read any table. So the second run restores all entries that may depend
on more than one table.
"""

from __future__ import annotations

from collections.abc import Sequence

from igny8_backup.databases.postgresql.restore.archive.toc import Entry


def split_phases(entries: Sequence[Entry]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Divide ``entries`` between two runs, each in the original order.

    The first run restores all entries outside the section post-data (``pg_restore --section``), and those
    indexes and unique keys that depend on exactly one table with rows and on nothing else. The second run
    restores the other entries.
    """
    # A function, operator or type might read other tables, and the index of a partition depends on the index
    # of its table. All other constraints come late, because the table of contents does not show all their
    # dependencies: an exclusion constraint may need a function, and NOT NULL is also checked in inheriting
    # tables.
    tables = {entry.number for entry in entries if entry.kind == "TABLE"}
    row_needs = (entry.needs for entry in entries if entry.kind == "TABLE DATA")
    with_rows = tables & frozenset().union(*row_needs)

    def is_early(entry: Entry) -> bool:
        alone = len(entry.needs) == 1 and entry.needs <= with_rows
        return not entry.post_data or (alone and (entry.kind == "INDEX" or entry.unique))

    return (
        tuple(entry for entry in entries if is_early(entry)),
        tuple(entry for entry in entries if not is_early(entry)),
    )
