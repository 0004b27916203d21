"""What must be true before a backup: a storage of its own, encryption, no SQLite in production.

Each question is asked once here; commands raise the answer, the system checks list it.
"""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage, storages

from igny8_backup.conf import SETTING, STORAGE_ALIAS, Config, Problem, home_dir
from igny8_backup.errors import BackupError, FilesError
from igny8_backup.streams.age import parse_recipients


def has_storage(alias: str = STORAGE_ALIAS) -> bool:
    """Whether ``STORAGES`` has the alias for backups."""
    return alias in getattr(settings, "STORAGES", {})


def default_folder() -> Path:
    """Where backups go in DEBUG when ``STORAGES`` names no place."""
    return home_dir() / "backups"


def find_storage(config: Config, alias: str = STORAGE_ALIAS) -> Storage | Problem:
    """``STORAGES[alias]``; in DEBUG without one, a private folder of the project."""
    if has_storage(alias):
        try:
            storage = storages[alias]
            if isinstance(storage, FileSystemStorage):
                os.fspath(storage.location)  # computed when first asked for
            return storage
        except Exception as error:  # a storage that somebody else wrote raises what it likes
            return Problem(
                id="igny8_backup.E021",
                message=f"STORAGES[{alias!r}] cannot be used: {type(error).__name__}: {error}.",
                hint="Correct its BACKEND and OPTIONS; for S3: install igny8-backup with its extra: s3.",
            )
    if config.debug:
        return FileSystemStorage(location=default_folder())
    return Problem(
        id="igny8_backup.E020",
        message=f"STORAGES has no {STORAGE_ALIAS!r}: there is nowhere to put backups.",
        hint=f'Add STORAGES[{STORAGE_ALIAS!r}]: see "Store backups in S3" in the documentation.',
    )


def storage_problems(config: Config, alias: str = STORAGE_ALIAS) -> list[Problem]:
    """A storage that is missing, is served to the public, or lies in what it backs up (or round it)."""
    storage = find_storage(config, alias)
    if isinstance(storage, Problem):
        return [storage]
    if not isinstance(storage, FileSystemStorage):
        return []
    place = _real(storage.location)
    found = [
        Problem(
            id="igny8_backup.E022",
            message=f"Backups would lie in {name} ({root}), which is served to the public.",
            hint=f"Give STORAGES[{alias!r}] a location outside it.",
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
                    message=f"The storage {place} and the tree {name!r} ({tree}) lie one in the other.",
                    hint=f"Give STORAGES[{alias!r}] a location outside every tree.",
                )
            )
    return found


def folder_problems(config: Config) -> list[Problem]:
    """Trees that overlap, or hold our own folders: a restore swaps all that lies in a tree."""
    trees = {name: _real(path) for name, path in {**config.sites, **config.logs}.items()}
    found = [
        Problem(
            id="igny8_backup.E024",
            message=f"The tree {inner!r} ({trees[inner]}) lies in the tree {outer!r} ({trees[outer]}).",
            hint="Back up the outer one alone, or move the inner one out of it.",
        )
        for inner, outer in permutations(trees, 2)
        if trees[inner].is_relative_to(trees[outer]) and (inner > outer or trees[inner] != trees[outer])
    ]
    for setting, folder in {"STATE_DIR": config.state_dir, "SCRATCH_DIR": config.scratch_dir}.items():
        found += [
            Problem(
                id="igny8_backup.E025",
                message=f"{SETTING}[{setting!r}] ({folder}) lies in {name} ({path}).",
                hint="Point it at a private folder outside every tree and of all that is served.",
            )
            for name, path in closed_folders(config).items()
            if _real(folder).is_relative_to(path)
        ]
    return found


def closed_folders(config: Config) -> dict[str, Path]:
    """The folders in which nothing of ours may lie, by what they are: the trees, and what is served."""
    trees = {**config.sites, **config.logs}
    return {f"the tree {name!r}": _real(path) for name, path in trees.items()} | _served()


def _real(path: object) -> Path:
    """Where ``path`` leads. A loop of symlinks leads to itself; ``Path.resolve`` would raise."""
    return Path(os.path.realpath(str(path)))


def _served() -> dict[str, Path]:
    """The folders that a web server gives to the public."""
    roots = {"MEDIA_ROOT": settings.MEDIA_ROOT, "STATIC_ROOT": settings.STATIC_ROOT}
    return {name: _real(root) for name, root in roots.items() if root}


def encryption_problems(config: Config) -> list[Problem]:
    """No recipient outside DEBUG, or one that is no age public key."""
    if config.encryption is None:
        return []
    if not config.recipients:
        if config.debug:
            return []
        return [
            Problem(
                id="igny8_backup.E030",
                message="No recipient is set: backups would be stored in the clear.",
                hint="Run generate_backup_key FILE and put the recipient that it prints into"
                " IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS']; or, if the storage is safe enough,"
                " set IGNY8_BACKUP['ENCRYPTION'] = None.",
            )
        ]
    try:
        parse_recipients(list(config.recipients))
    except BackupError as error:
        return [
            Problem(
                id="igny8_backup.E031",
                message=str(error),
                hint="Copy the recipient that generate_backup_key printed; the identity file repeats it.",
            )
        ]
    return []


def make_home(config: Config) -> None:
    """Makes the project's own folder private and keeps it out of version control, where it is in use. Raises
    :class:`FilesError`."""
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
            f"The folder {home} cannot be made: {error.strerror}.",
            unchanged="Nothing was read or written.",
            hint="Set IGNY8_BACKUP['STATE_DIR'] to a private folder on a volume that lasts.",
        ) from None
