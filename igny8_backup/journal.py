"""What restores have done so far, on disk before they do it: how to go on, or back (law 3).

One file a restore, in ``STATE_DIR/restores``. ``phase`` is

* ``preparing``: sides are being made; nothing live was touched; the next run removes them;
* ``swapping``: every side is whole and checked; the next run completes the swaps;
* ``done``: the restored is live, what was before is kept aside;
* ``undoing``: as ``swapping``, the other way;
* ``undone``: what was before is live again, the restored is kept aside.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.formats import records
from igny8_backup.formats.details import DatabaseDetails

SCHEMA = 1
PREPARING, SWAPPING, DONE, UNDOING, UNDONE = "preparing", "swapping", "done", "undoing", "undone"


@dataclass(frozen=True, kw_only=True)
class DatabaseSwap:
    """One database: the live name, the side's, the name under which the other one is kept, and what the
    swap must know of it. ``place`` says which database the alias led to."""

    alias: str
    name: str
    side: str
    before: str
    existed: bool
    details: DatabaseDetails
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class TreeSwap:
    """One tree; ``kept`` is where the other one will be; ``plan`` is the swap plan as JSON, empty until the
    side is complete; ``whole`` where the root itself is swapped."""

    name: str
    root: str
    kept: str
    plan: str = ""
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Journal:
    """One restore."""

    schema: int
    stamp: str
    phase: str
    started: datetime
    backup_ids: tuple[str, ...]
    databases: tuple[DatabaseSwap, ...] = ()
    trees: tuple[TreeSwap, ...] = ()


class Journals:
    """The journals below ``STATE_DIR``."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / "restores"

    def all(self) -> list[Journal]:
        """Oldest first. Raises ``IntegrityError`` for a file that is no journal, ``FilesError``."""
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

    def unfinished(self) -> Journal | None:
        """The restore or undo that was interrupted, if any."""
        return next((item for item in self.all() if item.phase in (PREPARING, SWAPPING, UNDOING)), None)

    def write(self, journal: Journal, phase: str | None = None) -> Journal:
        """Makes the journal (with ``phase``, if given) durable; returns what was written."""
        written = replace(journal, phase=phase or journal.phase)
        path = self._path(written)
        partial = self._partial
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(records.to_json(written))
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync_folder(self.folder)
            _sync_folder(self.folder.parent)  # the folder itself may be new
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise _unusable(path, "written", error) from None
        return written

    def remove(self, journal: Journal) -> None:
        """Forgets a restore of which nothing is kept any more; a missing one is fine."""
        path = self._path(journal)
        try:
            path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)
            _sync_folder(self.folder)
        except OSError as error:
            raise _unusable(path, "removed", error) from None

    @property
    def _partial(self) -> Path:
        # One for all, as there is one writer at a time: what a kill leaves, the next one writes over.
        return self.folder / "journal.partial"

    def _path(self, journal: Journal) -> Path:
        return self.folder / f"{journal.stamp}.json"


def _read(path: Path) -> Journal:
    return records.from_json(
        Journal,
        path.read_bytes(),
        name=f"The journal {path}",
        schema=SCHEMA,
        hint="It tells how far a restore came. Bring the file back; or look for databases named __side_ and"
        " __before_ and for folders named .before-, settle them by hand, and remove it.",
    )


def _unusable(path: Path, verb: str, error: OSError) -> FilesError:
    return FilesError(
        f"The journal {path} cannot be {verb}: {error.strerror}.",
        hint="Mend that, or point IGNY8_BACKUP['STATE_DIR'] elsewhere; then run again.",
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
