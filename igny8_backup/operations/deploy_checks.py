"""Deployment checks for the next scheduled backup. They never block other commands.

:func:`find_problems` checks the settings, the disk and the database servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db import Error, router

from igny8_backup.celery.workers import scheduled_tasks
from igny8_backup.conf import SETTING, Config, ConfigurationError, Problem
from igny8_backup.conf.sections.schedule import backups_yield
from igny8_backup.databases.registry import is_sqlite, make_engine, vendor_of
from igny8_backup.errors import BackupError, RefusedError, ToolError
from igny8_backup.operations.guards import (
    folders,
    legacy_dumps,
    object_lock,
    public_storage,
    signing_checks,
    storage_answers,
)
from igny8_backup.operations.guards.preconditions import make_problem
from igny8_backup.operations.history.expected_hosts import undeclared_note
from igny8_backup.operations.installation import changed_defaults
from igny8_backup.operations.restore import other_workers
from igny8_backup.streams.side_by_side import streams_at_once

CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CREDENTIAL_APPS = {
    "django.contrib.sessions",
    "knox",
    "oauth2_provider",
    "rest_framework.authtoken",
    "rest_framework_simplejwt.token_blacklist",
}


def find_problems(config: Config) -> list[Problem]:
    """Return the problems that can be expected in the next backup."""
    return [
        *missing_trees(config),
        *folders.problems(config),
        *storage_answers.problems(config),
        *other_workers.problems(config),
        *unset_host(config),
        *undeclared_host(config),
        *absent_schedule(),
        *readable_secrets(config),
        *legacy_dumps.problems(config),
        *unfit_databases(config),
        *new_defaults(config),
        *public_storage.problems(config),
        *signing_checks.problems(config),
        *object_lock.problems(config),
    ]


def missing_trees(config: Config) -> list[Problem]:
    """Return W002 for each file tree in the settings that does not exist. Its backup would fail."""
    return [
        make_problem(
            "W002",
            f"The tree {name!r} ({path}) does not exist: its backup would fail.",
            "Mount it, or correct its path. If it should be empty, create it.",
        )
        for name, path in {**config.sites, **config.logs}.items()
        if not path.is_dir()
    ]


def unset_host(config: Config, marks: tuple[Path, ...] = CONTAINER_MARKS) -> list[Problem]:
    """Return W003 if ``HOST`` is not set in a container: its host name changes with every start.

    ``marks`` are files that container engines create.
    """
    if "HOST" in getattr(settings, SETTING, {}) or not any(mark.exists() for mark in marks):
        return []
    return [
        make_problem(
            "W003",
            f"HOST is not set and this is a container, whose name ({config.host}) changes with every start.",
            f"Set {SETTING}['HOST'] to a permanent name.",
        )
    ]


def undeclared_host(config: Config) -> list[Problem]:
    """Return W019 if ``HOSTS`` does not name this host: its missing backups would not be reported."""
    hint = f"Add it to {SETTING}['HOSTS']. If it makes no backups, silence this check."
    note = undeclared_note(config)
    return [make_problem("W019", note, hint)] if note else []


def absent_schedule() -> list[Problem]:
    """Return W004 if Celery is in use, but beat sends no backup task. Cron jobs cannot be detected."""
    entries: Mapping[str, Mapping[str, object]] = getattr(settings, "CELERY_BEAT_SCHEDULE", None) or {}
    of_app = scheduled_tasks()
    tasks = [str(item.get("task", "")) for item in entries.values()] + (of_app or [])
    if any(map(_backs_up, tasks)):
        return []
    periodic = _periodic_tasks()
    tasks += periodic or []
    readable = of_app is not None and periodic is not None
    if any(map(_backs_up, tasks)) or not (tasks or readable):
        return []
    return [
        make_problem(
            "W004",
            "Celery beat sends no backup task: there is none in the settings, in the Celery app"
            " (beat_schedule), or among the periodic tasks in the database.",
            "Add **beat_schedule() of igny8_backup.schedules. If cron makes the backups, silence this check.",
        )
    ]


def _backs_up(task: str) -> bool:
    return task.startswith("igny8_backup.backup_")


def _periodic_tasks() -> list[str] | None:
    """Return the names of the enabled tasks of django-celery-beat, or ``None`` if they cannot be read.

    Returns an empty list if django-celery-beat is not installed. Its own task ``celery.backend_cleanup`` is
    left out.
    """
    if not apps.is_installed("django_celery_beat"):
        return []
    model = apps.get_app_config("django_celery_beat").get_model("PeriodicTask")
    try:
        if vendor_of(router.db_for_read(model)) != "postgresql":
            return None
    except RefusedError:
        return None
    enabled = model._default_manager.filter(enabled=True).exclude(task="celery.backend_cleanup")
    try:
        return [str(task) for task in enabled.values_list("task", flat=True)]
    except Error:
        return None  # the database is unreachable (reported by unfit_databases) or not migrated


def readable_secrets(config: Config) -> list[Problem]:
    """Return W005 if backups would contain unencrypted sessions or login tokens: readers could log in."""
    if config.recipients or config.debug:
        return []
    excluded = [table for tables in config.exclude_table_data.values() for table in tables]
    left_out = {table.rpartition(".")[2].strip('"') for table in excluded}
    names = [
        app.name
        for app in apps.get_app_configs()
        if app.name in _CREDENTIAL_APPS
        and not {model._meta.db_table for model in app.get_models()} <= left_out
    ]
    if not names or not config.databases:
        return []
    return [
        make_problem(
            "W005",
            f"Backups are not encrypted and contain sessions or tokens ({', '.join(names)}): whoever reads a"
            " backup can log in.",
            'Set ENCRYPTION (see "Manage keys" in the documentation), or leave their rows out with'
            " EXCLUDE_TABLE_DATA.",
        )
    ]


def unfit_databases(config: Config) -> list[Problem]:
    """Return E041 to E043 for each database whose backup would fail, W007 if it cannot be checked.

    A backup fails, for example, if the PostgreSQL client is missing or too old, or if a permission is
    missing. W011 is for a database that could be backed up, but not restored on its server.
    """
    problems, yielding = [], backups_yield(config.yield_after)
    for alias in (name for name in config.databases if not is_sqlite(name)):
        try:
            excluded = config.exclude_table_data.get(alias, ())
            jobs = streams_at_once(config.dump_jobs or 1, chunked=alias in config.chunked_dumps)
            problems += make_engine(alias, config).check(excluded, yielding=yielding, jobs=jobs)
        except (ConfigurationError, RefusedError, ToolError) as error:
            problems.append(_error_problem("E041", f"The database {alias!r} would not be backed up.", error))
        except BackupError as error:
            problems.append(_error_problem("W007", f"The database {alias!r} could not be checked.", error))
    return problems


def new_defaults(config: Config) -> list[Problem]:
    """Return W010 for each default that changed since the last backup of this host."""
    return [
        make_problem("W010", f"Since this release: {change.text}", changed_defaults.DOCUMENTATION)
        for change in changed_defaults.pending(config)
    ]


def _error_problem(number: str, message: str, error: BackupError) -> Problem:
    what, _, hint = error.parts
    return make_problem(number, f"{message} {what}", hint or "Fix this problem, then run the check again.")
