"""Find the live data and the data that a restore keeps, before they are exchanged or deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from igny8_backup.databases.values import Target
from igny8_backup.errors import BackupError
from igny8_backup.journal import DONE, UNDONE, DatabaseSwap, Journal
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore import tree as restore_tree
from igny8_backup.operations.restore.swaps import engine_of
from igny8_backup.operations.undo.history import REDO, UNDO
from igny8_backup.trees.fs.measure import LIMIT, measure

DATABASE, FILES = "database", "files"
GLANCE = 100
"""How many files to count in order to see whether a tree is empty."""


@dataclass(frozen=True, kw_only=True)
class DataCopy:
    """A database or folder that exists. ``where`` is its name or path, ``bytes`` its size.

    ``items`` is the number of its tables or files; None for a database that cannot be read. ``more``:
    counting stopped at a limit, so the folder has more than ``items`` files.
    """

    where: str
    items: int | None
    bytes: int
    empty: bool
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A database or tree of a restore, with the copies that an undo or redo exchanges.

    ``live`` is the live copy; ``kept`` is the copy that the restore keeps beside it. Either is None if it
    does not exist. ``place`` is the name of the live database, or the root of the tree.
    """

    kind: str
    name: str
    place: str
    live: DataCopy | None
    kept: DataCopy | None

    @property
    def vanishes(self) -> bool:
        """Whether the exchange removes live data without putting other data in its place."""
        return _has_content(self.live) and not _has_content(self.kept)

    @property
    def only_copy(self) -> bool:
        """Whether the kept copy is the only one, because the live database or tree is missing or empty."""
        return _has_content(self.kept) and not _has_content(self.live)


def find_exchanges(
    context: BackupContext, journal: Journal, action: str, *, limit: int = LIMIT
) -> list[Exchange]:
    """Return the databases and trees that an undo or redo of the restore ``journal`` exchanges.

    ``action`` is ``UNDO`` or ``REDO``. At most ``limit`` files of a tree are counted. If the restore is
    unfinished, databases that were exchanged already are left out. All trees are left out, too, because a
    tree can be half exchanged. Raises ``DatabaseError``, and the ``RefusedError`` of ``engine_of``.
    """
    databases = [_database(context, journal, swap, action) for swap in journal.databases]
    found = [item for item in databases if item is not None]
    return [*found, *_trees(journal, limit)] if journal.phase in (DONE, UNDONE) else found


def is_discardable(context: BackupContext, journal: Journal) -> bool:
    """Return whether the data that a finished restore keeps may be deleted: no part is the only copy.

    Also returns ``False`` if the databases cannot be examined.
    """
    action = UNDO if journal.phase == DONE else REDO
    try:
        return not any(item.only_copy for item in find_exchanges(context, journal, action, limit=GLANCE))
    except BackupError:
        return False


def kept_since(journal: Journal) -> datetime:
    """Return the time at which the data that a restore keeps stopped being live.

    This is the time of the last swap of the restore or, if that is not recorded, the start of the restore.
    """
    return journal.swapped or journal.started


def _database(context: BackupContext, journal: Journal, swap: DatabaseSwap, action: str) -> Exchange | None:
    engine = engine_of(context, swap)
    name = swap.staging if action == REDO else swap.previous
    kept = _copy(engine.target(name)) if action == REDO or swap.existed else None
    if journal.phase not in (DONE, UNDONE):
        done = kept is None if action == REDO or swap.existed else engine.exists(swap.staging)
        if done:
            return None
    live = _copy(engine.target())
    return Exchange(kind=DATABASE, name=swap.alias, place=swap.name, live=live, kept=kept)


def _trees(journal: Journal, limit: int) -> Iterator[Exchange]:
    for tree in journal.trees:
        yield Exchange(
            kind=FILES,
            name=tree.name,
            place=tree.root,
            live=_folder(Path(tree.root), limit),
            kept=_folder(restore_tree.target_of(tree, journal.stamp).kept_tree, limit),
        )


def _copy(found: Target) -> DataCopy | None:
    if not found.exists:
        return None
    return DataCopy(where=found.name, items=found.tables, bytes=found.size, empty=found.empty)


def _folder(path: Path, limit: int) -> DataCopy | None:
    found = measure(path, limit=limit)
    if found is None:
        return None
    return DataCopy(where=str(path), items=found.files, bytes=found.bytes, empty=found.empty, more=found.more)


def _has_content(copy: DataCopy | None) -> bool:
    return copy is not None and not copy.empty
