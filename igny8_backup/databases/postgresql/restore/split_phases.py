"""What ``pg_restore`` makes while rows are loaded, and what when all rows are there.

With several jobs it makes an index as soon as the rows of its table are there, on a connection that would
have nothing to do while the largest table is loaded. Not everything may be made so: a trigger of a
partitioned table waits for the table, which has no rows, not for the rows of its partitions, and would fire
at each of them; a function may read any table. So only what takes long and surely waits for all that it
reads is made early.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from igny8_backup.databases.postgresql.restore.archive_toc import Entry

_ROWS = "TABLE DATA "
_TABLE = "TABLE "
_INDEX = "INDEX "


def split_phases(
    entries: Sequence[Entry], post_data: AbstractSet[int], unique: AbstractSet[int]
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Each of ``entries`` in one of two runs, in the same order. ``post_data`` are the numbers of those that
    ``pg_restore`` counts to that section: indexes, constraints, triggers and what is like them.

    Of these the first run takes indexes, and primary and unique keys (``unique``), where they need nothing
    but one table whose rows are among ``entries``: no function, operator or type of the database's own, of
    which nobody knows what it reads. An index of a partition needs that of its table, so it comes after. Of
    other constraints the list does not tell what they need: an exclusion may need a function, and NOT NULL
    is asked of heirs of the table as well.
    """
    tables = {entry.number for entry in entries if entry.words.startswith(_TABLE)}
    of_rows = (entry.needs for entry in entries if entry.words.startswith(_ROWS))
    with_rows = tables & frozenset().union(*of_rows)
    early = {
        entry.number
        for entry in entries
        if (entry.words.startswith(_INDEX) or entry.number in unique)
        and len(entry.needs) == 1
        and entry.needs <= with_rows
    }
    later = post_data - early
    return (
        tuple(entry for entry in entries if entry.number not in later),
        tuple(entry for entry in entries if entry.number in later),
    )
