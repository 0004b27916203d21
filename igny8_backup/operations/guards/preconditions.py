"""Preconditions of every operation: a private storage, encryption, separate folders, no SQLite in production.

The functions return :class:`~igny8_backup.conf.Problem` values, which the system checks list. ``require``
raises an error for the first problem.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage, storages

from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import SETTING, STORAGE_ALIAS, Config, Problem, home_dir
from igny8_backup.databases.registry import is_sqlite
from igny8_backup.errors import BackupError, FilesError, RefusedError, UsageError
from igny8_backup.operations.guards.lock_support import lock_problems
from igny8_backup.store import UNSUITABLE_HINT, why_refused
from igny8_backup.store.exposure import public_by_settings
from igny8_backup.streams.age import parse_recipients


def has_storage(alias: str = STORAGE_ALIAS) -> bool:
    """Return whether ``STORAGES`` has an entry ``alias``."""
    return alias in getattr(settings, "STORAGES", {})


def default_folder() -> Path:
    """Return the folder for backups if DEBUG is on and ``STORAGES`` has no entry for backups."""
    return home_dir() / "backups"


def debug_storage_note() -> str:
    """Return the note that ``STORAGES`` has no entry for backups: :func:`default_folder` is used instead."""
    return f"STORAGES has no {STORAGE_ALIAS!r}: with DEBUG on, backups go to {default_folder()}."


def debug_notes(config: Config, *, alias: str, writing: bool) -> list[str]:
    """Return a note for each setting that is missing, but not required while DEBUG is on."""
    notes = [] if has_storage(alias) else [debug_storage_note()]
    if writing and config.encryption is not None and not config.recipients:
        notes.append(
            "No recipient is set: with DEBUG on, backups are stored unencrypted. Run generate_backup_key to"
            " encrypt them."
        )
    return notes


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
            if is_from_outside(error):
                raise
            message = f"STORAGES[{alias!r}] cannot be used: {type(error).__name__}: {error}."
            return make_problem(
                "E021", message, "Correct its BACKEND and OPTIONS. For S3: pip install igny8-backup[s3]."
            )
    if config.debug:
        return FileSystemStorage(location=default_folder())
    hint = f'Add STORAGES[{STORAGE_ALIAS!r}]: see "Store backups in S3" in the documentation.'
    return make_problem("E020", f"STORAGES has no {STORAGE_ALIAS!r}: there is nowhere to put backups.", hint)


def new_storage(config: Config, alias: str = STORAGE_ALIAS) -> Storage:
    """Return a new storage object for ``STORAGES[alias]``, so that each thread can have its own."""
    if has_storage(alias):
        backends: dict[str, Any] = storages.backends
        return storages.create_storage(backends[alias])
    return FileSystemStorage(location=default_folder())


def require(config: Config, *, alias: str, writing: bool) -> Storage:
    """Check the settings, and return ``STORAGES[alias]``.

    ``writing``: backups will be stored, so the encryption is checked too. Raises :class:`RefusedError` for
    the first problem, :class:`UsageError` if ``alias`` is not the main storage and ``STORAGES`` lacks it.
    """
    if alias != STORAGE_ALIAS and not has_storage(alias):
        what = f"STORAGES has no {alias!r}."
        hint = f'Add it, like STORAGES[{STORAGE_ALIAS!r}]: see "Store backups in S3" in the documentation.'
        raise UsageError(what, unchanged="Nothing was read or written.", hint=hint)
    problems = storage_problems(config, alias) + folder_problems(config)
    problems += encryption_problems(config) + exposure_problems(config, alias) if writing else []
    storage = find_storage(config, alias)
    problems += lock_problems(config, storage, alias) if writing else []
    if problems or isinstance(storage, Problem):
        problem = storage if isinstance(storage, Problem) else problems[0]
        raise RefusedError(problem.message, unchanged="Nothing was read or written.", hint=problem.hint)
    return storage


def storage_problems(config: Config, alias: str = STORAGE_ALIAS) -> list[Problem]:
    """Return problems of a storage that is missing, unsuitable or public, or that overlaps with a tree."""
    storage = find_storage(config, alias)
    if isinstance(storage, Problem):
        return [storage]
    if reason := why_refused(storage):
        return [make_problem("E029", reason, UNSUITABLE_HINT)]
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
            message = f"One of the storage {place} and the tree {name!r} ({tree}) contains the other."
            hint = f"Give STORAGES[{alias!r}] a location outside every tree."
            found.append(make_problem("E023", message, hint))
    return found


def exposure_problems(config: Config, alias: str = STORAGE_ALIAS) -> list[Problem]:
    """Return E032 if unencrypted backups would be stored where everybody can read them."""
    storage = find_storage(config, alias)
    reason = "" if isinstance(storage, Problem) or config.recipients else public_by_settings(storage)
    return [unencrypted_in_public(reason, alias)] if reason else []


def unencrypted_in_public(reason: str, alias: str = STORAGE_ALIAS) -> Problem:
    """Return the problem E032. ``reason`` says why everybody can read ``STORAGES[alias]``."""
    return make_problem(
        "E032",
        f"Backups would be stored unencrypted where everybody can read them: {reason}.",
        f"Make the storage STORAGES[{alias!r}] private (default_acl None, no public policy), and encrypt"
        " backups (generate_backup_key).",
    )


def folder_problems(config: Config) -> list[Problem]:
    """Return problems for trees that overlap, and for ``STATE_DIR`` and ``SCRATCH_DIR`` in unsuitable places.

    In a tree, a restore would replace these two folders. In a served folder, their files would be public.
    """
    trees = {name: _real(path) for name, path in {**config.sites, **config.logs}.items()}
    names: defaultdict[Path, list[str]] = defaultdict(list)
    for name, path in trees.items():
        names[path].append(name)
    found = [
        make_problem(
            "E024",
            f"The tree {inner!r} ({path}) lies inside the tree {outer!r} ({trees[outer]}).",
            "Back up only the outer tree, or move the inner one out of it.",
        )
        for inner, path in trees.items()
        for above in (path, *path.parents)
        for outer in names.get(above, ())
        if above != path or inner > outer
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
    """Return the trees and the served folders: this package must not write there. The keys describe them."""
    trees = {**config.sites, **config.logs}
    return {f"the tree {name!r}": _real(path) for name, path in trees.items()} | _served()


def _real(path: object) -> Path:
    """Resolve symlinks. Unlike ``Path.resolve``, this function does not raise for a loop of symlinks."""
    return Path(os.path.realpath(str(path)))


def _served() -> dict[str, Path]:
    """Return the folders that a web server serves to the public. The keys name the settings."""
    roots = {"MEDIA_ROOT": settings.MEDIA_ROOT, "STATIC_ROOT": settings.STATIC_ROOT}
    roots["WHITENOISE_ROOT"] = getattr(settings, "WHITENOISE_ROOT", None)
    for number, entry in enumerate(getattr(settings, "STATICFILES_DIRS", ()), 1):
        # An entry may be a pair: a prefix and the folder. collectstatic copies its files to STATIC_ROOT.
        roots[f"STATICFILES_DIRS, entry {number}"] = entry[1] if isinstance(entry, (list, tuple)) else entry
    return {name: _real(root) for name, root in roots.items() if root}


def encryption_problems(config: Config) -> list[Problem]:
    """Return problems if ``RECIPIENTS`` (public keys to encrypt to) is missing, or if an entry is unsuitable.

    An entry must be an age key and must not be a signing key. While DEBUG is on, no entry is needed.
    """
    if config.encryption is None or (config.debug and not config.recipients):
        return []
    if not config.recipients:
        hint = (
            "Run generate_backup_key FILE and put the recipient that it prints into"
            " IGNY8_BACKUP['ENCRYPTION']['RECIPIENTS']: see \"Manage keys\" in the documentation."
        )
        return [make_problem("E030", "No recipient is set: backups would be stored unencrypted.", hint)]
    try:
        parse_recipients(list(config.recipients))
    except BackupError as error:
        return [make_problem("E031", error.what, error.parts[2])]
    what = "The recipient {!r} is a signing key: the server that has it could read its backups."
    names, hint = map(config.trust.name_of, config.recipients), "Encrypt to another key: generate_backup_key."
    return [make_problem("E031", what.format(name), hint) for name in names if name]


def sqlite_problems(config: Config) -> list[Problem]:
    """If DEBUG is off, return a problem for each SQLite database, which will not be backed up."""
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
    """Create the folder ``home_dir()`` if the state or the backups of the project are stored in it.

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
