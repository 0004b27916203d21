"""The scratch databases and the scratch folder of a drill, and the removal of those that killed drills left.

Their names tell them apart from everything else, also from those of another project on the same server or
in the same scratch folder. Only one drill runs at a time: what exists while the locks are held is a leftover.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from igny8_backup.errors import BackupError, FilesError, LockedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.locks import drill_engines, drill_locks, no_drill_running, project_digest
from igny8_backup.operations.lock_wait import retry_until
from igny8_backup.trees.fs.remove import remove_tree


@contextmanager
def exclusive_drill(context: BackupContext) -> Iterator[Callable[[], None]]:
    """Hold the locks of a drill, and remove what killed drills left.

    Yields a function that raises ``LockedError`` if one of the locks was lost. Raises ``LockedError`` after
    ``context.wait`` seconds, naming the drill that is under way on this host or, against the same databases,
    on another one; ``DatabaseError``, ``FilesError``.
    """
    with retry_until(lambda: drill_locks(context, "a drill"), context.wait, context.progress) as check:
        _remove_leftovers(context)
        yield check


@contextmanager
def scratch_folder(context: BackupContext, stamp: str) -> Iterator[Path]:
    """Create a private folder for the restored trees; remove it at the end. Raises ``FilesError``."""
    folder = context.config.scratch_dir / f"{_prefix(context)}{stamp}"
    try:
        folder.mkdir(0o700)
    except OSError as error:
        raise FilesError(
            f"No scratch folder can be created in {folder.parent}: {error.strerror}.",
            unchanged="Nothing was created.",
            hint="Set IGNY8_BACKUP['SCRATCH_DIR'] to a writable folder.",
        ) from None
    try:
        yield folder
    finally:
        remove_tree(folder)


def remove_killed_drills(context: BackupContext) -> None:
    """Remove what killed drills left, unless a drill is under way. Problems are noted, not raised."""
    try:
        with drill_locks(context, "removing what drills left"):
            _remove_leftovers(context)
    except LockedError:
        pass  # the drill that is under way uses what exists, or removes it
    except BackupError as error:
        context.progress.note(f"Leftovers of killed drills could not be removed. {error}")


def killed_drills(context: BackupContext) -> tuple[str, ...]:
    """The stamps of killed drills whose folder still exists on this host. Connects to no database."""
    with no_drill_running(context) as free:
        # While no drill can start or run: so every folder is a leftover.
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
    """Prefix of the name of a drill's folder in ``SCRATCH_DIR``."""
    return f"igny8_backup-drill-{project_digest(context)}-"


def _folders(context: BackupContext) -> list[Path]:
    return [path for path in context.config.scratch_dir.glob(f"{_prefix(context)}*") if _is_our_folder(path)]


def _is_our_folder(path: Path) -> bool:
    """Whether ``path`` is a folder of this user: scratch may be /tmp, where anybody may create that name."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
