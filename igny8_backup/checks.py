"""Django system checks of the settings, and of the conditions that the next backup needs.

All errors are registered with ``deploy=True``, because other errors would make ``migrate`` and deployments
fail. The commands of this app run the same checks themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from igny8_backup.conf import Config, ConfigurationError, Problem, get_config, problems
from igny8_backup.operations import deploy_checks, preconditions

TAG = "backup"


@register(TAG, Tags.security, deploy=True)
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Return E001 to E019 and E026: wrong values in ``IGNY8_BACKUP``."""
    return [_message(problem) for problem in problems()]


@register(TAG, Tags.security, deploy=True)
def check_storage(**kwargs: Any) -> list[CheckMessage]:
    """Return E020 to E023: an unusable or unsafe storage for backups."""
    return _run(preconditions.storage_problems)


@register(TAG, Tags.security, deploy=True)
def check_folders(**kwargs: Any) -> list[CheckMessage]:
    """Return E024 and E025: folders that must not contain one another."""
    return _run(preconditions.folder_problems)


@register(TAG, Tags.security, deploy=True)
def check_encryption(**kwargs: Any) -> list[CheckMessage]:
    """Return E030 and E031: missing or invalid recipients of encrypted backups."""
    return _run(preconditions.encryption_problems)


@register(TAG, Tags.database, deploy=True)
def check_sqlite(**kwargs: Any) -> list[CheckMessage]:
    """Return E040: a SQLite database while DEBUG is off."""
    return _run(preconditions.sqlite_problems)


@register(TAG, Tags.security, deploy=True)
def check_next_backup(**kwargs: Any) -> list[CheckMessage]:
    """Return E041, E042 and W002 to W007: reasons why the next scheduled backup would fail or be unsafe."""
    return _run(deploy_checks.find_problems)


@register(TAG)
def check_debug_storage(**kwargs: Any) -> list[CheckMessage]:
    """Return W001: backups go to a folder in the project, because DEBUG is on and no storage is
    configured."""
    if not settings.DEBUG or preconditions.has_storage():
        return []
    hint = 'Add STORAGES["dbbackup"]: see "Store backups in S3" in the documentation.'
    message = preconditions.debug_storage_note()
    return [_message(Problem(id="igny8_backup.W001", message=message, hint=hint))]


def _run(find: Callable[[Config], list[Problem]]) -> list[CheckMessage]:
    """Run a check that needs valid settings. Invalid settings are reported by :func:`check_settings`."""
    try:
        config = get_config()
    except ConfigurationError:
        return []
    return [_message(problem) for problem in find(config)]


def _message(problem: Problem) -> CheckMessage:
    """Convert a problem to a message of Django, whose hint refers to the documentation of the check."""
    number = problem.id.rpartition(".")[2]
    kind = Error if number.startswith("E") else Warning
    hint = f'{problem.hint} See {number} under "Checks" in the documentation.'
    return kind(problem.message, hint=hint, id=problem.id)
