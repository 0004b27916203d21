"""Compare the applied migrations recorded in a backup with the migrations of the installed code.

All migrations of an app are compared, because the last applied one says little. Django can record a squashed
migration after migrations that follow it, and an updated installation can have another order than a new one.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Mapping
from importlib import import_module

from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from igny8_backup.formats.details import DatabaseDetails, by_app

INSTALL = "install the code that made the backup"
_NUMBER = re.compile(r"(?:^|_squashed_)(\d+)")

Key = tuple[str, str]
"""The app and the name of a migration."""


def applied(details: DatabaseDetails) -> list[Key] | None:
    """Return the applied migrations that are recorded in a backup.

    Returns ``None`` if an earlier release of this package, which did not record them, made the backup.
    """
    recorded = details.applied_migrations
    return None if recorded is None else list(_keys(recorded))


def stale_migrations(recorded: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the applied migrations whose files were deleted from the installed code, as after squashing.

    ``recorded`` maps each app to its applied migrations. When a migration file is deleted, the database keeps
    the row of the migration. A migration without a file is returned if its number is at most the highest
    number of the app in the code. A higher number means that the migration comes from newer code.
    """
    if not _without_file(recorded):
        return {}  # the usual case, found without importing any migration
    unknown = _unknown(_keys(recorded))
    known = set(_keys(recorded)) - set(unknown)
    highest = {app: max(_number(name) for other, name in known if other == app) for app, _ in known}
    dropped = {(app, name) for app, name in unknown if 0 <= _number(name) <= highest.get(app, -1)}
    # Also the applied part of partly applied squashed migrations: the code that makes the backup accepts it.
    return by_app(dropped.union(*_partly_applied(set(_keys(recorded))).values()))


def missing_migrations(details: DatabaseDetails) -> list[str]:
    """Return a reason not to restore if the code lacks migrations of the backup, else an empty list.

    Another reason is that the backup has applied only some of the migrations that a squashed one replaces,
    and the code lacks the others. Apps that are not installed are ignored, because the rows of their
    migrations stay in the database. If the backup does not record all migrations, the last one of each app is
    compared.
    """
    recorded = applied(details)
    needed = set(details.migrations.items()) if recorded is None else set(recorded)
    lacking = [f"{app}.{name}" for app, name in _unknown(needed - set(_keys(details.stale_migrations)))]
    if lacking:
        return [f"the code lacks migrations of the backup ({', '.join(lacking)}): {INSTALL}."]
    partial = _partly_applied(needed - set(_keys(details.stale_migrations))) if recorded else {}
    if partial:
        return [
            f"in the backup, only some of the migrations are applied that squashed migrations of the code"
            f" replace ({', '.join(partial)}): install code that still has the replaced migrations."
        ]
    return []


def removed_apps(details: DatabaseDetails) -> list[str]:
    """Return a list with a note on apps of the backup that are not installed here, or an empty list."""
    gone = sorted(details.migrations.keys() - apps.app_configs.keys())
    if gone:
        # A migration of an installed app can replace migrations of an app that had another name before.
        migrations = MigrationLoader(None, ignore_no_migrations=True).disk_migrations.values()
        renamed = {app for migration in migrations for app, _ in migration.replaces}
        gone = [app for app in gone if app not in renamed]
    listed = f"The backup contains migrations of apps that are not installed here: {', '.join(gone)}."
    return [f"{listed} Their tables are restored, but not migrated."] if gone else []


def comparison_notes(details: DatabaseDetails) -> list[str]:
    """Return a list with a note if the backup records only last migrations, not all; else an empty list."""
    if not details.migrations or details.applied_migrations is not None:
        return []
    return [
        f"{details.alias}: an earlier release made this backup and recorded only the last migration of each"
        " app. Only these are compared with the code."
    ]


def differing_last_migrations(details: DatabaseDetails) -> list[str]:
    """Return a reason not to restore in place if the code has other last migrations than the backup.

    The reason names the last migration in the code of each app for which the backup recorded another one.
    Returns an empty list if there is no difference. This is for backups of earlier releases, which recorded
    only the last migration of each app. A squashed migration counts as equal to each one that it replaces.
    """
    if not details.migrations:
        return []
    loader = MigrationLoader(None, ignore_no_migrations=True)
    pending = []
    for app, name in sorted(loader.graph.leaf_nodes()):
        replaced = {migration for _, migration in loader.graph.nodes[app, name].replaces}
        if details.migrations.get(app) not in {name, *replaced}:
            pending.append(f"{app}.{name}")
    return pending_migrations(details, pending)


def pending_migrations(details: DatabaseDetails, pending: Iterable[str]) -> list[str]:
    """Return a reason not to restore in place if migrations are ``pending``, else an empty list.

    A restore in place cannot run migrations.
    """
    by_label: dict[str, list[str]] = {}
    for text in pending:
        app, _, name = text.partition(".")
        by_label.setdefault(app, []).append(name)
    differing = [
        f"{app}: {details.migrations.get(app, 'none')} in the backup, {', '.join(names)} in the code"
        for app, names in sorted(by_label.items())
    ]
    return (
        [f"the migrations of backup and code differ ({'; '.join(differing)}): {INSTALL}."]
        if differing
        else []
    )


def _keys(recorded: Mapping[str, Iterable[str]]) -> Iterable[Key]:
    return ((app, name) for app, names in recorded.items() for name in names)


def _unknown(keys: Iterable[Key]) -> list[Key]:
    """Return the migrations among ``keys`` that the code neither has nor replaces by a squashed migration.

    Apps that are not installed are ignored, and apps that have no migrations according to
    ``MIGRATION_MODULES``.
    """
    loader = MigrationLoader(None, ignore_no_migrations=True)
    known = set(loader.disk_migrations or ())
    for migration in (loader.disk_migrations or {}).values():
        known.update((app, name) for app, name in migration.replaces)
    without = {app for app in apps.app_configs if loader.migrations_module(app)[0] is None}
    return sorted(
        key for key in keys if key[0] in apps.app_configs and key[0] not in without and key not in known
    )


def _partly_applied(recorded: set[Key]) -> dict[str, set[Key]]:
    """Return squashed migrations that cannot be completed, each with the applied migrations that it replaces.

    Such a migration replaces some migrations that are applied, and some that are not and whose files are
    gone. Django ignores such a squashed migration and does not migrate its app any further, without an error.
    """
    files = MigrationLoader(None, ignore_no_migrations=True).disk_migrations or {}
    found = {}
    for (app, name), migration in sorted(files.items()):
        replaced = {(other, label) for other, label in migration.replaces}
        if replaced & recorded and (replaced - recorded) - files.keys():
            found[f"{app}.{name}"] = replaced & recorded
    return found


def _without_file(recorded: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether an applied migration of an installed app has no file in its app."""
    for app, names in recorded.items():
        if app in apps.app_configs:
            module, _ = MigrationLoader.migrations_module(app)
            if module is not None:
                try:
                    folder = import_module(module).__path__
                except (ImportError, AttributeError):
                    return True
                if not set(names) <= {found.name for found in pkgutil.iter_modules(folder)}:
                    return True
    return False


def _number(name: str) -> int:
    """Return the largest number in the name of a migration, -1 if it has none.

    The name of a squashed migration, such as ``0001_squashed_0005_title``, has two numbers.
    """
    return max(map(int, _NUMBER.findall(name)), default=-1)
