"""The journals of restores: how far each restore has come, so that the next run can complete or undo it.

There is one file for each restore, in ``STATE_DIR/restores``. The phase is written before the work of the
phase begins. If the process is killed, the next run reads the journal. At that time each database and each
tree is either the previous one or the complete restored one. The phases are

* ``preparing``: staging databases and folders are being built. Nothing live was changed. The next run removes
  them.
* ``ready``: the staging databases and folders are complete, and wait until all hosts of a fleet restore are
  ready. Nothing live was changed. The next run completes the swaps if the coordinator of the fleet restore
  has decided so, or else removes them.
* ``swapping``: the staging databases and folders are complete and checked. The next run completes the swaps.
* ``done``: the restored data is live, and the previous data is kept.
* ``undoing``: the previous data is being swapped back. The next run completes these swaps.
* ``undone``: the previous data is live again, and the restored data is kept.
* ``redoing``: the restored data is about to be made live again. Nothing live has been changed yet. The phase
  ``swapping`` follows.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from igny8_backup.common.filesystem import sync, sync_folder
from igny8_backup.errors import FilesError
from igny8_backup.formats import records
from igny8_backup.formats.comparison import Expected
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.trees.swap.plan import SwapPlan
from igny8_backup.trees.swap.target import SwapTarget

SCHEMA = 4
PREPARING, SWAPPING, DONE, UNDOING, UNDONE = "preparing", "swapping", "done", "undoing", "undone"
REDOING, READY = "redoing", "ready"
_UNFINISHED = (PREPARING, READY, SWAPPING, UNDOING, REDOING)


@dataclass(frozen=True, kw_only=True)
class DatabaseSwap:
    """A database that a restore replaces, and the names that the restored and the previous one have.

    ``name`` is the name of the live database. ``staging`` is the name of the restored database until the swap
    and after an undo; ``previous`` is the name of the previous database after the swap. ``existed`` is false
    if there was no previous database. ``details`` are the properties that the backup recorded. ``place``
    identifies the database that the alias led to: see ``Engine.identity``. ``expected`` is the size of the
    restored data; the next backup then does not take a copy of this size for a suspect one.
    """

    alias: str
    name: str
    staging: str
    previous: str
    existed: bool
    details: DatabaseDetails
    place: str = ""
    expected: Expected | None = None


@dataclass(frozen=True, kw_only=True)
class TreeSwap:
    """A tree of files that a restore replaces, and the folders of the restored and the previous files.

    ``root`` is the live folder of the tree. ``previous`` is the folder that holds the previous files after
    the swap, and the restored files after an undo. ``plan`` lists the renames of the swap; it is ``None``
    until the staging folder (with the restored files) is complete. With ``swap_root`` the folder ``root``
    itself is swapped instead of the entries in it. ``expected`` is the size of the restored files.
    ``excluded_files`` and ``excluded_bytes`` count the previous files that backups exclude.
    """

    name: str
    root: str
    previous: str
    plan: SwapPlan | None = None
    swap_root: bool = False
    expected: Expected | None = None
    excluded_files: int = 0
    excluded_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The journal of one restore: its phase, and the databases and trees that it replaces.

    ``stamp`` is the time when the restore started, as text that is also part of the names of its databases
    and folders. ``backup_ids`` are the backups that the restore reads. ``turn`` counts the swaps of all
    restores on this machine: the journal with the highest number was swapped last. ``swapped`` is the time
    when the last swap of this restore (a redo, for example) began. ``turn`` and ``swapped`` are missing in
    journals of earlier releases. ``fleet`` is the id of the fleet restore that this restore is a part of, and
    ``fleet_backup`` that of the fleet backup that it reads. ``fleet_undo`` is the id of the undo of a fleet
    restore that has last undone this restore. They are empty if there is none.
    """

    schema: int
    stamp: str
    phase: str
    started: datetime
    backup_ids: tuple[str, ...]
    databases: tuple[DatabaseSwap, ...] = ()
    trees: tuple[TreeSwap, ...] = ()
    turn: int = 0
    swapped: datetime | None = None
    fleet: str = ""
    fleet_backup: str = ""
    fleet_undo: str = ""


class Journals:
    """The journals of all restores on this machine, in ``STATE_DIR/restores``."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / "restores"

    def all(self) -> list[Journal]:
        """Return all journals, oldest first.

        Raises ``IntegrityError`` if a journal is damaged, ``FilesError`` if one cannot be read.
        """
        found = []
        try:
            for name in sorted(os.listdir(self.folder)):
                if name.endswith(".json"):
                    found.append(_read(self.folder / name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(self.folder, "read", error) from None
        return found

    def kept_in(self, folder: Path) -> frozenset[bytes]:
        """Return the names of all staging and previous folders in ``folder`` that restores have created.

        Raises the errors of ``all``.
        """
        here = os.path.realpath(folder)
        targets = [
            SwapTarget(root=Path(tree.root), stamp=journal.stamp, swap_root=tree.swap_root)
            for journal in self.all()
            for tree in journal.trees
        ]
        return frozenset(
            os.fsencode(path.name)
            for target in targets
            if os.path.realpath(target.folder) == here
            for path in (target.staging, target.previous)
        )

    def unfinished(self) -> Journal | None:
        """Return the journal of an interrupted or running restore or undo, if there is one."""
        return next((item for item in self.all() if item.phase in _UNFINISHED), None)

    def in_turn(self, journal: Journal, now: datetime) -> Journal:
        """Return a copy of ``journal`` with the next free ``turn`` and with ``now`` as ``swapped``."""
        turn = max((item.turn for item in self.all()), default=0) + 1
        return replace(journal, turn=turn, swapped=now)

    def write(self, journal: Journal, phase: str | None = None) -> Journal:
        """Write ``journal`` durably to disk, with the new ``phase`` if given; return the written journal.

        Raises ``FilesError`` if the file cannot be written.
        """
        written = replace(journal, phase=phase or journal.phase)
        path = self._path(written)
        partial = self._partial
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(records.to_json(written))
                file.flush()
                sync(file.fileno())
            os.replace(partial, path)
            sync_folder(self.folder)
            sync_folder(self.folder.parent)  # the folder itself may be new
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise _unusable(path, "written", error) from None
        return written

    def remove(self, journal: Journal) -> None:
        """Delete the journal of a restore whose staging and previous data are gone.

        Does nothing if the file is missing.

        Raises ``FilesError`` if the file cannot be deleted.
        """
        path = self._path(journal)
        try:
            path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as error:
            raise _unusable(path, "removed", error) from None

    @property
    def _partial(self) -> Path:
        # All journals share this name: there is one writer at a time, and the next one replaces the file that
        # a killed run left.
        return self.folder / "journal.partial"

    def _path(self, journal: Journal) -> Path:
        return self.folder / f"{journal.stamp}.json"


def _read(path: Path) -> Journal:
    return records.from_json(
        Journal,
        path.read_bytes(),
        name=f"The journal {path}",
        schema=SCHEMA,
        upgrades={1: _from_schema_1, 2: dict, 3: dict},
        hint="Bring the journal back from a copy: it says how far a restore has come. If there is none, look"
        " for databases named __side_ and __before_ and folders named .before-, rename or delete them by"
        " hand, and delete the journal.",
    )


def _from_schema_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Convert a journal of schema 1, in which the swap plan of a tree was JSON in a string."""
    for database in fields.get("databases", ()):
        _rename(database, side="staging", before="previous")
    for tree in fields.get("trees", ()):
        _rename(tree, kept="previous", whole="swap_root")
        tree["plan"] = _plan_from_schema_1(tree.get("plan", ""))
    return fields


def _plan_from_schema_1(text: str) -> dict[str, Any] | None:
    """Convert the swap plan of a tree from schema 1 to the current schema.

    Returns None if ``text`` is empty, because the swap was not planned yet.
    """
    if not text:
        return None
    try:
        plan = json.loads(text)
        children = [{"name": name, "live": live, "staging": new} for name, live, new in plan["children"]]
        return {**plan, "folder": plan["root"], "staging_inode": plan["side_inode"], "children": children}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("the plan of a tree swap cannot be understood") from error


def _rename(fields: dict[str, Any], **names: str) -> None:
    for old, new in names.items():
        if old in fields:
            fields[new] = fields.pop(old)


def _unusable(path: Path, verb: str, error: OSError) -> FilesError:
    return FilesError(
        f"The journal {path} cannot be {verb}: {error.strerror}.",
        hint="Make IGNY8_BACKUP['STATE_DIR'] writable or free some space in it, then run the command again.",
    )
