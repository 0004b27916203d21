"""What a drill makes and must not leave: its databases and its folder; and what of drills that were killed is
left.

The names tell them apart from all else, and from those of another project that shares the server or the
scratch folder. One drill at a time makes them: so all that lies there while the locks are held was left.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from igny8_backup.errors import BackupError, FilesError, LockedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.locks import drill_engines, drill_locks, look, project_digest
from igny8_backup.operations.lock_wait import retry_until
from igny8_backup.trees.fs.remove import remove_tree


@contextmanager
def drill_alone(context: BackupContext) -> Iterator[Callable[[], None]]:
    """Holds the locks of a drill, having removed what killed ones left; gives what raises ``LockedError``
    once one of them was lost.

    Raises ``LockedError``, after ``context.wait`` seconds, naming the drill that goes on: on this host, or on
    another one against the same databases. Raises ``DatabaseError``, ``FilesError``.
    """
    with retry_until(lambda: drill_locks(context, "a drill"), context.wait, context.progress) as check:
        _remove_leftovers(context)
        yield check


@contextmanager
def scratch_folder(context: BackupContext, stamp: str) -> Iterator[Path]:
    """The private folder of the drill, gone afterwards."""
    folder = context.config.scratch_dir / f"{_prefix(context)}{stamp}"
    try:
        folder.mkdir(0o700)
    except OSError as error:
        raise FilesError(
            f"No scratch folder can be made in {folder.parent}: {error.strerror}.",
            unchanged="Nothing was made.",
            hint="Point IGNY8_BACKUP['SCRATCH_DIR'] at a folder that may be written.",
        ) from None
    try:
        yield folder
    finally:
        remove_tree(folder)


def tidy(context: BackupContext) -> None:
    """Removes what killed drills left, if no drill goes on. Why it could not is noted, and no failure."""
    try:
        with drill_locks(context, "removing what drills left"):
            _remove_leftovers(context)
    except LockedError:
        pass  # whatever is there is in use, or is for the next to remove
    except BackupError as error:
        context.progress.note(f"What a killed drill may have left was not removed: {error}")


def killed_drills(context: BackupContext) -> tuple[str, ...]:
    """The stamps of drills that were killed on this host and not tidied up yet; asks no database."""
    with look(context) as free:
        # In the look: a drill that ends before it has a folder, and one that begins after it has none yet.
        return (
            tuple(sorted(path.name.removeprefix(_prefix(context)) for path in _folders(context)))
            if free
            else ()
        )


def _remove_leftovers(context: BackupContext) -> None:
    for engine in drill_engines(context):
        for name in engine.drill_databases():
            engine.drop(name)
    for folder in _folders(context):
        remove_tree(folder)


def _prefix(context: BackupContext) -> str:
    """How the folder in ``SCRATCH_DIR`` begins that stands as long as a drill does, and takes its trees."""
    return f"igny8_backup-drill-{project_digest(context)}-"


def _folders(context: BackupContext) -> list[Path]:
    return [path for path in context.config.scratch_dir.glob(f"{_prefix(context)}*") if _is_our_folder(path)]


def _is_our_folder(path: Path) -> bool:
    """Scratch may be /tmp: anybody may have put something there by that name."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
