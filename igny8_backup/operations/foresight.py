"""What can be known before the night: told by the system checks, in the way of nobody.

Each question is asked of the settings, the disk or the database server.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from django.apps import apps
from django.conf import settings

from igny8_backup.conf import SETTING, Config, Problem, project_dir
from igny8_backup.databases.registry import make_engine
from igny8_backup.errors import BackupError, RefusedError

CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_SESSIONS = "django.contrib.sessions"
_TOKENS = ("rest_framework.authtoken", "oauth2_provider", "knox")
_LEGACY = {".sql", ".dump", ".sqlite3"}
_HEADS = (b"PGDMP", b"SQLite format 3\0", b"--\n-- PostgreSQL database", b"-- MySQL dump", b"-- MariaDB dump")
_NOT_SEARCHED = {".git", ".igny8_backup", "node_modules", "site-packages", ".venv", "venv"}
MOST_FILES = 100_000
"""So many files of a project are looked at."""


def missing_trees(config: Config) -> list[Problem]:
    """Trees that are not there: each would be a failed part."""
    return [
        _problem(
            "W002",
            f"The tree {name!r} ({path}) does not exist: its backup would fail.",
            "Mount it, or correct its path; make it, if it is to be empty.",
        )
        for name, path in {**config.sites, **config.logs}.items()
        if not path.is_dir()
    ]


def unset_host(config: Config, marks: tuple[Path, ...] = CONTAINER_MARKS) -> list[Problem]:
    """In a container, whose own name changes with every start, HOST must be set."""
    if "HOST" in getattr(settings, SETTING, {}) or not any(mark.exists() for mark in marks):
        return []
    return [
        _problem(
            "W003",
            f"HOST is not set, and this is a container: its name ({config.host}) changes with every start.",
            f"Set {SETTING}['HOST'] to a name that lasts.",
        )
    ]


def absent_schedule(schedule: Mapping[str, Mapping[str, object]] | None = None) -> list[Problem]:
    """Celery beat is configured, and nothing in it backs up."""
    found = getattr(settings, "CELERY_BEAT_SCHEDULE", None) if schedule is None else schedule
    tasks = [str(item.get("task", "")) for item in (found or {}).values()]
    if not tasks or any(task.startswith("igny8_backup.backup_") for task in tasks):
        return []
    return [
        _problem(
            "W004",
            "CELERY_BEAT_SCHEDULE has no backup in it.",
            "Add **beat_schedule() of igny8_backup.schedules; silence this check where cron backs up.",
        )
    ]


def readable_secrets(config: Config) -> list[Problem]:
    """Sessions and tokens, with which one logs in, would be stored in the clear."""
    if config.recipients or config.debug:
        return []
    names = [name for name in (_SESSIONS, *_TOKENS) if apps.is_installed(name)]
    if not names or not config.databases:
        return []
    return [
        _problem(
            "W005",
            f"Backups are not encrypted and hold sessions or tokens ({', '.join(names)}): who reads a backup"
            " can log in.",
            "Set ENCRYPTION, as in docs/keys.md, or leave their rows out with EXCLUDE_TABLE_DATA.",
        )
    ]


def legacy_dumps(folder: Path | None = None) -> list[Problem]:
    """Dumps that lie in the project, where they are committed, copied and deployed."""
    root = folder or project_dir()
    used = {str(database.get("NAME", "")) for database in settings.DATABASES.values()}
    found = sorted(str(path) for path in _dumps(root) if str(path) not in used)
    return [
        _problem(
            "W006",
            f"A dump of a database lies in the project: {path}.",
            f"Move it out of the project; if it was committed: git rm --cached {_quoted(path, root)}.",
        )
        for path in found
    ]


def unfit_databases(config: Config) -> list[Problem]:
    """Servers that a dump would be refused for (an older client, a pooler), or that do not answer."""
    problems = []
    for alias in config.databases:
        if settings.DATABASES[alias]["ENGINE"].endswith("sqlite3"):
            continue
        try:
            make_engine(alias, config).versions()
        except RefusedError as error:
            problems.append(_problem("E041", f"The database {alias!r} would not be backed up. {error}", _SEE))
        except BackupError as error:
            problems.append(_problem("W007", f"The database {alias!r} could not be asked. {error}", _SEE))
    return problems


_SEE = "See docs/settings.md, The connection for backups."


def _dumps(root: Path) -> Iterator[Path]:
    seen = 0
    for folder, names, files in os.walk(root):
        names[:] = sorted(set(names) - _NOT_SEARCHED)
        for name in files:
            seen += 1
            if seen > MOST_FILES:
                return
            path = Path(folder, name)
            if path.suffix in _LEGACY and _is_dump(path):
                yield path


def _is_dump(path: Path) -> bool:
    try:
        if not path.is_file():  # to open a FIFO would be to wait for its writer
            return False
        with path.open("rb") as file:
            return file.read(64).startswith(_HEADS)
    except OSError:
        return False


def _quoted(path: str, root: Path) -> str:
    return shlex.quote(os.path.relpath(path, root))


def _problem(number: str, message: str, hint: str) -> Problem:
    return Problem(id=f"igny8_backup.{number}", message=message, hint=hint)
