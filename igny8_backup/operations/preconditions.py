"""Preconditions of every operation: a private storage, encryption, separate folders, no SQLite in production.

The functions return :class:`~igny8_backup.conf.Problem` values. ``open_context`` raises an error for the
first problem; the system checks list all of them.
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
    """Return whether ``STORAGES`` has an entry ``alias``."""
    return alias in getattr(settings, "STORAGES", {})


def default_folder() -> Path:
    """Return the folder for backups if DEBUG is on and ``STORAGES`` has no entry for backups."""
    return home_dir() / "backups"


def debug_storage_note() -> str:
    """Return the note that ``STORAGES`` has no entry for backups, so they go to :func:`default_folder`."""
    return f"STORAGES has no {STORAGE_ALIAS!r}: with DEBUG on, backups go to {default_folder()}."


def make_problem(number: str, message: str, hint: str) -> Problem:
    return Problem(id=f"igny8_backup.{number}", message=message, hint=hint)


def find_storage(config: Config, alias: str = STORAGE_ALIAS) -> Storage | Problem:
    """Return ``STORAGES[alias]``; if it is missing and DEBUG is on, a storage in :func:`default_folder`.

    Returns a problem if neither can be used.
    """
    if has_storage(alias):
        try:
            storage = storages[alias]
            if isinstance(storage, FileSystemStorage):
                os.fspath(storage.location)  # Django computes it on first use, and may raise
            return storage
        except Exception as error:  # third-party storages raise any exception
            message = f"STORAGES[{alias!r}] cannot be used: {type(error).__name__}: {error}."
            return make_problem(
                "E021", message, "Correct its BACKEND and OPTIONS. For S3: pip install igny8-backup[s3]."
            )
    if config.debug:
        return FileSystemStorage(location=default_folder())
    hint = f'Add STORAGES[{STORAGE_ALIAS!r}]: see "Store backups in S3" in the documentation.'
    return make_problem("E020", f"STORAGES has no {STORAGE_ALIAS!r}: there is nowhere to put backups.", hint)


def storage_problems(config: Config, alias: str = STORAGE_ALIAS) -> list[Problem]:
    """Return problems of a storage that is missing, served to the public, or inside or around a file tree."""
    storage = find_storage(config, alias)
    if isinstance(storage, Problem):
        return [storage]
    if not isinstance(storage, FileSystemStorage):
        return []
    place = _real(storage.location)
    found = []
    for name, root in _served().items():
        if place.is_relative_to(root):
            message = f"Backups would be stored in {name} ({root}), which is served to the public."
            hint = f"Give STORAGES[{alias!r}] a location outside that folder."
            found.append(make_problem("E022", message, hint))
    for name, tree in {**config.sites, **config.logs}.items():
        if place.is_relative_to(_real(tree)) or _real(tree).is_relative_to(place):
            message = f"The storage {place} and the tree {name!r} ({tree}) contain one another."
            hint = f"Give STORAGES[{alias!r}] a location outside every tree."
            found.append(make_problem("E023", message, hint))
    return found


def folder_problems(config: Config) -> list[Problem]:
    """Return problems: trees that overlap, and ``STATE_DIR`` or ``SCRATCH_DIR`` inside a tree.

    A restore of the tree would replace these folders too.
    """
    trees = {name: _real(path) for name, path in {**config.sites, **config.logs}.items()}
    found = [
        make_problem(
            "E024",
            f"The tree {inner!r} ({trees[inner]}) lies inside the tree {outer!r} ({trees[outer]}).",
            "Back up only the outer tree, or move the inner one out of it.",
        )
        for inner, outer in permutations(trees, 2)
        if trees[inner].is_relative_to(trees[outer]) and (inner > outer or trees[inner] != trees[outer])
    ]
    for setting, folder in {"STATE_DIR": config.state_dir, "SCRATCH_DIR": config.scratch_dir}.items():
        found += [
            make_problem(
                "E025",
                f"{SETTING}[{setting!r}] ({folder}) lies inside {name} ({path}).",
                "Set it to a private folder outside every tree and every folder that is served.",
            )
            for name, path in closed_folders(config).items()
            if _real(folder).is_relative_to(path)
        ]
    return found


def closed_folders(config: Config) -> dict[str, Path]:
    """Return the folders in which this package must not write, by description: trees and served folders."""
    trees = {**config.sites, **config.logs}
    return {f"the tree {name!r}": _real(path) for name, path in trees.items()} | _served()


def _real(path: object) -> Path:
    """Resolve symlinks. Unlike ``Path.resolve``, this function does not raise for a loop of symlinks."""
    return Path(os.path.realpath(str(path)))


def _served() -> dict[str, Path]:
    """Return the folders that a web server serves to the public, by the name of the setting."""
    roots = {"MEDIA_ROOT": settings.MEDIA_ROOT, "STATIC_ROOT": settings.STATIC_ROOT}
    return {name: _real(root) for name, root in roots.items() if root}


def encryption_problems(config: Config) -> list[Problem]:
    """Return problems of recipients (public keys to encrypt to) that are missing or are not age keys.

    Missing recipients are allowed while DEBUG is on.
    """
    if config.encryption is None or (config.debug and not config.recipients):
        return []
    if not config.recipients:
        hint = (
            "Run generate_backup_key FILE and put the recipient that it prints into"
            " IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS']. Or, if you trust the storage, set"
            " IGNY8_BACKUP['ENCRYPTION'] = None."
        )
        return [make_problem("E030", "No recipient is set: backups would be stored unencrypted.", hint)]
    try:
        parse_recipients(list(config.recipients))
    except BackupError as error:
        return [make_problem("E031", error.what, error.parts[2])]
    return []


def sqlite_problems(config: Config) -> list[Problem]:
    """Return a problem for each SQLite database while DEBUG is off: it will not be backed up."""
    return [
        make_problem(
            "E040",
            f"The database {alias!r} is SQLite and DEBUG is off: it will not be backed up.",
            "Set DATABASE_URL (or DB_NAME and DB_HOST) for this process.",
        )
        for alias in config.databases
        if not config.debug and is_sqlite(alias)
    ]


def make_home(config: Config) -> None:
    """Create the project's private folder if the state or the backups are stored in it.

    Version control ignores the folder. Raises :class:`FilesError`.
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
        what = f"The folder {home} cannot be created: {error.strerror}."
        hint = "Set IGNY8_BACKUP['STATE_DIR'] to a private folder on a persistent volume."
        raise FilesError(what, unchanged="Nothing was read or written.", hint=hint) from None
