"""What a drill makes and must not leave: its databases and its folder; and what of drills that were killed is
left.

The names tell them apart from all else. One drill at a time makes them on a host and beside a database, by
locks that die with their holder: so all that lies there while the locks can be had was left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.postgresql import PostgresqlEngine
from igny8_backup.errors import BackupError, FilesError, LockedError
from igny8_backup.locks import AdvisoryLock, file_lock
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.operations.patience import patiently
from igny8_backup.trees.remove import remove_tree

FOLDER = "igny8_backup-drill-"
"""How the folder in ``SCRATCH_DIR`` begins that stands as long as a drill does, and takes its trees."""


@contextmanager
def drill_alone(kit: Toolkit) -> Iterator[None]:
    """Holds the locks of a drill, having removed what killed ones left.

    Raises ``LockedError``, after ``kit.wait`` seconds, naming the drill that goes on: on this host, or on
    another one against the same databases. Raises ``DatabaseError``, ``FilesError``.
    """
    with patiently(lambda: _locks(kit, "a drill"), kit.wait, kit.progress):
        _remove_leftovers(kit)
        yield


@contextmanager
def scratch_folder(kit: Toolkit, stamp: str) -> Iterator[Path]:
    """The private folder of the drill, gone afterwards."""
    folder = kit.config.scratch_dir / f"{FOLDER}{stamp}"
    try:
        folder.mkdir(0o700)
    except OSError as error:
        raise FilesError(
            f"No scratch folder can be made in {folder.parent}: {error.strerror}.",
            untouched="Nothing was made.",
            fix="Point IGNY8_BACKUP['SCRATCH_DIR'] at a folder that may be written.",
        ) from None
    try:
        yield folder
    finally:
        remove_tree(folder)


def tidy(kit: Toolkit) -> None:
    """Removes what killed drills left, if no drill goes on. Why it could not is noted, and no failure."""
    try:
        with _locks(kit, "what drills left"):
            _remove_leftovers(kit)
    except LockedError:
        pass  # whatever is there is in use, or is for the next to remove
    except BackupError as error:
        kit.progress.note(f"What a killed drill may have left was not looked for: {error}")


def killed_drills(kit: Toolkit) -> tuple[str, ...]:
    """The stamps of drills that were killed on this host and not tidied up yet; asks no database."""
    found = sorted(path.name.removeprefix(FOLDER) for path in _folders(kit))
    if not found:
        return ()
    try:
        with _host_lock(kit, "a look at what drills left"):
            return tuple(found)
    except BackupError:  # one goes on, or nobody can tell
        return ()


@dataclass(frozen=True, kw_only=True)
class _Beside:
    """The databases that drills make beside one: what the lock across hosts is on."""

    place: str
    where: str

    def identity(self) -> str:
        return f"igny8_backup drill {self.place}"

    def describe(self) -> str:
        return f"the drill databases beside {self.where}"


@contextmanager
def _locks(kit: Toolkit, doing: str) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(_host_lock(kit, doing))
        places = {engine.place(): engine for engine in _engines(kit)}
        for place, engine in places.items():
            session = stack.enter_context(engine.lock_session())
            beside = _Beside(place=place, where=engine.live.where)
            AdvisoryLock(session, beside, doing=f"{doing} of {kit.config.host}")
        yield


@contextmanager
def _host_lock(kit: Toolkit, doing: str) -> Iterator[None]:
    with file_lock(kit.store, kit.config.state_dir / "drill", doing=doing, now=kit.clock()):
        yield


def _remove_leftovers(kit: Toolkit) -> None:
    for engine in _engines(kit):
        for name in engine.drills():
            engine.drop(name)
    for folder in _folders(kit):
        remove_tree(folder)


def _engines(kit: Toolkit) -> list[PostgresqlEngine]:
    engines = (kit.engine(alias) for alias in kit.config.databases)
    return [engine for engine in engines if isinstance(engine, PostgresqlEngine)]


def _folders(kit: Toolkit) -> list[Path]:
    return list(kit.config.scratch_dir.glob(f"{FOLDER}*"))
