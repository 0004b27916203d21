"""Decide which differences between what is live and the newest backup are an alarm. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from igny8_backup.common.humanize import count_in_words
from igny8_backup.operations.history.table_counts import TableCounts
from igny8_backup.trees.scan.live_check import LiveCheck

GONE, EXCLUDED, ENCRYPTED, ALTERED, ROWS = "gone", "excluded", "encrypted", "altered", "rows"
CAUSES = (GONE, EXCLUDED, ENCRYPTED, ALTERED, ROWS)
"""The causes of alarms. ``GONE``: files of the backup exist no more, as when a tree is not mounted.
``EXCLUDED``: the backup lacks files that existed when it was made. ``ENCRYPTED``: changed files no longer
begin as their names say. ``ALTERED``: files have other contents, although their times are the same.
``ROWS``: tables have lost rows."""
FEWEST = 20
"""Fewer gone, excluded or encrypted files than this raise no alarm, unless all files are gone."""
UNFIT_SHARE = 0.05
"""If more than this share of the changed files do not begin as their names say, that is an alarm."""
SMALL_TABLE, ROWS_LEFT = 100, 0.5
"""``SMALL_TABLE``: tables with fewer rows in the backup are not compared. ``ROWS_LEFT``: an alarm counts the
tables that have less than this share of their rows left."""


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """The largest differences that raise no alarm, as shares from 0 to 1.

    ``gone``: of the files in the backup, the share that no longer exists. ``excluded``: of the live files
    that have not changed since the backup, the share that the backup lacks. ``rows``: of the tables that are
    compared, the share that has lost more than half of its rows.
    """

    gone: float = 0.5
    excluded: float = 0.5
    rows: float = 0.1


def judge_tree(found: LiveCheck, allowed: Tolerances) -> Iterator[tuple[str, str]]:
    """Yield the cause (one of ``CAUSES``) and the text of each alarm for a tree. No text names a file."""
    all_gone = found.recorded > 0 and found.gone == found.recorded
    if all_gone or found.gone >= FEWEST and found.gone > allowed.gone * found.recorded:
        what = f"{found.gone} of the {count_in_words(found.recorded, 'file')} in the backup are gone"
        yield GONE, f"{what}: the tree may not be mounted"
    if found.missing >= FEWEST and found.missing > allowed.excluded * found.old:
        files = count_in_words(found.old, "file")
        yield EXCLUDED, f"the backup lacks {found.missing} of {files} that it could contain: see EXCLUDE"
    if found.unfit >= FEWEST and found.unfit > UNFIT_SHARE * found.typed:
        files = count_in_words(found.typed, "changed file")
        yield ENCRYPTED, f"{found.unfit} of {files} no longer begin as their names say: they may be encrypted"
    if found.altered:
        files = count_in_words(found.hashed, "unchanged file")
        yield ALTERED, f"{found.altered} of {files} have other contents than in the backup"


def judge_tables(
    counts: TableCounts, live: Mapping[str, int], allowed: Tolerances
) -> Iterator[tuple[str, str]]:
    """Yield the cause and the text of an alarm for a database, if there is one.

    ``counts`` are the rows of the tables in the backup; ``live`` maps tables to their numbers of rows now.
    """
    large = {
        table: rows for table, rows in counts.row_counts.items() if rows >= SMALL_TABLE and table in live
    }
    shrunk = [table for table, rows in large.items() if live[table] < ROWS_LEFT * rows]
    if len(shrunk) > allowed.rows * len(large):
        tables = count_in_words(len(large), "table")
        yield ROWS, f"{len(shrunk)} of {tables} have lost more than half of their rows since the backup"
