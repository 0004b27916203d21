"""Name the scratch folder of a drill, and remove the databases and folders that killed drills have left.

The names contain a digest of the project, so databases and folders of other projects are never removed. Only
one drill runs at a time. So when a drill has taken its locks, all databases and folders that exist by then
are left from killed drills.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from igny8_backup.databases.private_server import stop_forgotten
from igny8_backup.errors import BackupError, LockedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.drill.locks import (
    drill_engines,
    drill_locks,
    no_drill_running,
    project_digest,
    role_prefix,
)
from igny8_backup.operations.locking.lock_wait import retry_until
from igny8_backup.trees.fs.remove import remove_tree

_STAMP_LENGTH = len("20261122T021500Z")


@contextmanager
def exclusive_drill(context: BackupContext) -> Iterator[Callable[[], None]]:
    """Hold the locks of a drill, and remove the databases and folders of killed drills.

    Yields a function that raises ``LockedError`` if one of the locks was lost. Raises ``LockedError`` if
    another drill on this host or on the same databases holds the locks for more than ``context.wait``
    seconds; ``DatabaseError``, ``FilesError``.
    """
    with retry_until(lambda: drill_locks(context, "a drill"), context.wait, context.progress) as check:
        _remove_leftovers(context)
        yield check


def drill_folder(context: BackupContext, stamp: str) -> Path:
    """Return the path of the scratch folder of the drill that started at ``stamp``."""
    return context.config.scratch_dir / f"{_prefix(context)}{stamp}"


def remove_killed_drills(context: BackupContext) -> None:
    """Remove the databases and folders of killed drills, unless a drill is running.

    Errors are noted, not raised.
    """
    try:
        with drill_locks(context, "removing killed drills"):
            _remove_leftovers(context)
    except LockedError:
        pass  # the drill that is running removes them when it starts
    except BackupError as error:
        context.progress.note(
            "Databases and folders that interrupted drills left could not be removed. The next drill or"
            f" prune_backups tries again. {error}"
        )


def killed_drills(context: BackupContext) -> tuple[str, ...]:
    """Return the stamps (start times) of killed drills whose folder still exists on this host, sorted.

    Returns nothing while a drill is running. Connects to no database.
    """
    with no_drill_running(context) as free:
        found = _folders(context) if free else []
    # The folder of a private server has the stamp too, and more.
    return tuple(sorted({path.name.removeprefix(_prefix(context))[:_STAMP_LENGTH] for path in found}))


def _remove_leftovers(context: BackupContext) -> None:
    for engine in drill_engines(context):
        engine.remove_drills(role_prefix(context))
    for folder in _folders(context):
        stop_forgotten(folder)
        remove_tree(folder)


def _prefix(context: BackupContext) -> str:
    """Return the prefix of the names of this project's drill folders in ``SCRATCH_DIR``."""
    return f"igny8_backup-drill-{project_digest(context)}-"


def _folders(context: BackupContext) -> list[Path]:
    return [path for path in context.config.scratch_dir.glob(f"{_prefix(context)}*") if _is_our_folder(path)]


def _is_our_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder of this user. In ``/tmp``, another user could have made it."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
