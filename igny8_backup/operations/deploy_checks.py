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
from django.db import Error, connections, router

from igny8_backup.celery.workers import scheduled_tasks
from igny8_backup.conf import SETTING, Config, Problem, project_dir
from igny8_backup.databases.registry import make_engine
from igny8_backup.errors import BackupError, RefusedError, ToolError

CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CREDENTIALS = {
    "django.contrib.sessions",
    "knox",
    "oauth2_provider",
    "rest_framework.authtoken",
    "rest_framework_simplejwt.token_blacklist",
}
_LEGACY = {".sql", ".dump", ".sqlite3"}
_HEADS = (
    b"PGDMP",
    b"SQLite format 3\0",
    b"--\n-- PostgreSQL database",
    b"-- MySQL dump",
    b"-- MariaDB dump",
    b"/*M!999999\\- enable the sandbox",
    b"/*!999999\\- enable the sandbox",
)
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


def absent_schedule() -> list[Problem]:
    """Celery is in use, and beat has no backup to send. What cron does, nobody can see."""
    entries: Mapping[str, Mapping[str, object]] = getattr(settings, "CELERY_BEAT_SCHEDULE", None) or {}
    of_app = scheduled_tasks()
    tasks = [str(item.get("task", "")) for item in entries.values()] + (of_app or [])
    if any(map(_backs_up, tasks)):
        return []
    periodic = _periodic_tasks()
    tasks += periodic or []
    known = of_app is not None and periodic is not None
    if any(map(_backs_up, tasks)) or not (tasks or known):
        return []
    return [
        _problem(
            "W004",
            "Celery beat has no backup to send: neither the settings and the Celery app (beat_schedule) nor"
            " the periodic tasks in the database have one.",
            "Add **beat_schedule() of igny8_backup.schedules; silence this check where cron backs up.",
        )
    ]


def _backs_up(task: str) -> bool:
    return task.startswith("igny8_backup.backup_")


def _periodic_tasks() -> list[str] | None:
    """The tasks that django-celery-beat would send, where it is in use: its own entry, which it adds by
    itself, tells nothing. ``None`` where the tables cannot be asked."""
    if not apps.is_installed("django_celery_beat"):
        return []
    model = apps.get_app_config("django_celery_beat").get_model("PeriodicTask")
    if connections[router.db_for_read(model)].vendor != "postgresql":
        return None
    enabled = model._default_manager.filter(enabled=True).exclude(task="celery.backend_cleanup")
    try:
        return [str(task) for task in enabled.values_list("task", flat=True)]
    except Error:
        return None  # not there, or not migrated: unfit_databases or migrate tell


def readable_secrets(config: Config) -> list[Problem]:
    """Sessions and tokens, with which one logs in, would be stored in the clear."""
    if config.recipients or config.debug:
        return []
    excluded = [table for tables in config.exclude_table_data.values() for table in tables]
    left_out = {table.rpartition(".")[2].strip('"') for table in excluded}
    names = [
        app.name
        for app in apps.get_app_configs()
        if app.name in _CREDENTIALS and not {model._meta.db_table for model in app.get_models()} <= left_out
    ]
    if not names or not config.databases:
        return []
    return [
        _problem(
            "W005",
            f"Backups are not encrypted and hold sessions or tokens ({', '.join(names)}): who reads a backup"
            " can log in.",
            'Set ENCRYPTION (see "Manage keys" in the documentation), or leave their rows out with'
            " EXCLUDE_TABLE_DATA.",
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
            "Move it out of the project; if it was committed, take it out of the repository:"
            f" `{_git_rm(path)}`.",
        )
        for path in found
    ]


def unfit_databases(config: Config) -> list[Problem]:
    """Databases that would not be backed up (the client is older or missing, a pooler stands before the
    server, the role may not see or read all of it), or that do not answer."""
    problems = []
    for alias in config.databases:
        if connections[alias].vendor == "sqlite":
            continue
        try:
            problems += make_engine(alias, config).check(config.exclude_table_data.get(alias, ()))
        except (RefusedError, ToolError) as error:
            problems.append(_of_error("E041", f"The database {alias!r} would not be backed up.", error))
        except BackupError as error:
            problems.append(_of_error("W007", f"The database {alias!r} could not be asked.", error))
    return problems


def _of_error(number: str, message: str, error: BackupError) -> Problem:
    what, _, hint = error.parts
    return _problem(number, f"{message} {what}", hint or "Mend that, then ask again.")


def _dumps(root: Path) -> Iterator[Path]:
    seen = 0
    for folder, names, files in os.walk(root):
        names[:] = sorted(set(names) - _NOT_SEARCHED)
        for name in files:
            seen += 1
            if seen > MOST_FILES:
                return
            path = Path(folder, name)
            if path.suffix.lower() in _LEGACY and _is_dump(path):
                yield path


def _is_dump(path: Path) -> bool:
    try:
        if not path.is_file():  # to open a FIFO would be to wait for its writer
            return False
        with path.open("rb") as file:
            return file.read(64).startswith(_HEADS)
    except OSError:
        return False


def _git_rm(path: str) -> str:
    """The command, to be run in any folder."""
    return shlex.join(["git", "-C", os.path.dirname(path), "rm", "--cached", "--", os.path.basename(path)])


def _problem(number: str, message: str, hint: str) -> Problem:
    return Problem(id=f"igny8_backup.{number}", message=message, hint=hint)
