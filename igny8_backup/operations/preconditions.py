"""Preconditions of every run: a private storage, encryption, separate folders, no SQLite in production.

Each function returns :class:`~igny8_backup.conf.Problem` values. ``open_context`` raises the first one; the
system checks list all of them.
"""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage, storages

from igny8_backup.conf import SETTING, STORAGE_ALIAS, Config, Problem, home_dir
from igny8_backup.databases.registry import is_sqlite
from igny8_backup.errors import BackupError, FilesError
from igny8_backup.streams.age import parse_recipients


def has_storage(alias: str = STORAGE_ALIAS) -> bool:
    """Whether ``STORAGES`` has an entry ``alias``."""
    return alias in getattr(settings, "STORAGES", {})


def default_folder() -> Path:
    """The folder for backups when DEBUG is on and ``STORAGES`` has no entry for them."""
    return home_dir() / "backups"


def find_storage(config: Config, alias: str = STORAGE_ALIAS) -> Storage | Problem:
    """Return ``STORAGES[alias]``, or with DEBUG on a private folder of the project; else the problem."""
    if has_storage(alias):
        try:
            storage = storages[alias]
            if isinstance(storage, FileSystemStorage):
                os.fspath(storage.location)  # Django computes it on first use, and may raise
            return storage
        except Exception as error:  # third-party storages raise any exception
            return Problem(
                id="igny8_backup.E021",
                message=f"STORAGES[{alias!r}] cannot be used: {type(error).__name__}: {error}.",
                hint="Correct its BACKEND and OPTIONS. For S3, install igny8-backup[s3].",
            )
    if config.debug:
        return FileSystemStorage(location=default_folder())
    return Problem(
        id="igny8_backup.E020",
        message=f"STORAGES has no {STORAGE_ALIAS!r}: there is nowhere to put backups.",
        hint=f'Add STORAGES[{STORAGE_ALIAS!r}]: see "Store backups in S3" in the documentation.',
    )


def storage_problems(config: Config, alias: str = STORAGE_ALIAS) -> list[Problem]:
    """Find a storage that is missing, served to the public, inside a tree of files, or around one."""
    storage = find_storage(config, alias)
    if isinstance(storage, Problem):
        return [storage]
    if not isinstance(storage, FileSystemStorage):
        return []
    place = _real(storage.location)
    found = [
        Problem(
            id="igny8_backup.E022",
            message=f"Backups would be stored in {name} ({root}), which is served to the public.",
            hint=f"Give STORAGES[{alias!r}] a location outside that folder.",
        )
        for name, root in _served().items()
        if place.is_relative_to(root)
    ]
    for name, tree in {**config.sites, **config.logs}.items():
        root_path = _real(tree)
        if place.is_relative_to(root_path) or root_path.is_relative_to(place):
            found.append(
                Problem(
                    id="igny8_backup.E023",
                    message=f"The storage {place} and the tree {name!r} ({tree}) contain one another.",
                    hint=f"Give STORAGES[{alias!r}] a location outside every tree.",
                )
            )
    return found


def folder_problems(config: Config) -> list[Problem]:
    """Find trees that overlap, and a state or scratch folder inside one: restores replace whole trees."""
    trees = {name: _real(path) for name, path in {**config.sites, **config.logs}.items()}
    found = [
        Problem(
            id="igny8_backup.E024",
            message=f"The tree {inner!r} ({trees[inner]}) lies inside the tree {outer!r} ({trees[outer]}).",
            hint="Back up only the outer tree, or move the inner one out of it.",
        )
        for inner, outer in permutations(trees, 2)
        if trees[inner].is_relative_to(trees[outer]) and (inner > outer or trees[inner] != trees[outer])
    ]
    for setting, folder in {"STATE_DIR": config.state_dir, "SCRATCH_DIR": config.scratch_dir}.items():
        found += [
            Problem(
                id="igny8_backup.E025",
                message=f"{SETTING}[{setting!r}] ({folder}) lies inside {name} ({path}).",
                hint="Set it to a private folder outside every tree and every folder that is served.",
            )
            for name, path in closed_folders(config).items()
            if _real(folder).is_relative_to(path)
        ]
    return found


def closed_folders(config: Config) -> dict[str, Path]:
    """The folders in which this package must not put anything, by description: trees and served folders."""
    trees = {**config.sites, **config.logs}
    return {f"the tree {name!r}": _real(path) for name, path in trees.items()} | _served()


def _real(path: object) -> Path:
    """Resolve symlinks. Unlike ``Path.resolve``, this does not raise for a loop of symlinks."""
    return Path(os.path.realpath(str(path)))


def _served() -> dict[str, Path]:
    """The folders that a web server serves to the public."""
    roots = {"MEDIA_ROOT": settings.MEDIA_ROOT, "STATIC_ROOT": settings.STATIC_ROOT}
    return {name: _real(root) for name, root in roots.items() if root}


def encryption_problems(config: Config) -> list[Problem]:
    """Find recipients that are missing while DEBUG is off, or that are not age public keys."""
    if config.encryption is None:
        return []
    if not config.recipients:
        if config.debug:
            return []
        return [
            Problem(
                id="igny8_backup.E030",
                message="No recipient is set: backups would be stored unencrypted.",
                hint="Run generate_backup_key FILE and put the recipient that it prints into"
                " IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS']. Or, if you trust the storage, set"
                " IGNY8_BACKUP['ENCRYPTION'] = None.",
            )
        ]
    try:
        parse_recipients(list(config.recipients))
    except BackupError as error:
        return [
            Problem(
                id="igny8_backup.E031",
                message=error.what,
                hint=error.parts[2],
            )
        ]
    return []


def sqlite_problems(config: Config) -> list[Problem]:
    """Find SQLite databases while DEBUG is off: they are never backed up."""
    return [
        Problem(
            id="igny8_backup.E040",
            message=f"The database {alias!r} is SQLite and DEBUG is off: it will not be backed up.",
            hint="Set DATABASE_URL (or DB_NAME and DB_HOST) for this process.",
        )
        for alias in config.databases
        if not config.debug and is_sqlite(alias)
    ]


def make_home(config: Config) -> None:
    """Create the project's private folder, ignored by version control, if the settings use it.

    Raises :class:`FilesError`.
    """
    home = home_dir()
    if has_storage() and not config.state_dir.is_relative_to(home):
        return
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        if not has_storage():
            default_folder().mkdir(mode=0o700, exist_ok=True)
        (home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise FilesError(
            f"The folder {home} cannot be created: {error.strerror}.",
            unchanged="Nothing was read or written.",
            hint="Set IGNY8_BACKUP['STATE_DIR'] to a private folder on a persistent volume.",
        ) from None
