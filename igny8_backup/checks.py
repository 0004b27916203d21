"""Django system checks for the settings and for what the next backup would need.

Errors are registered with ``deploy=True``: a plain error would stop ``migrate`` and deployments. The commands
of this app run the same checks themselves.
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
    """E001 to E019, E026: the values in ``IGNY8_BACKUP``."""
    return [_message(problem) for problem in problems()]


@register(TAG, Tags.security, deploy=True)
def check_storage(**kwargs: Any) -> list[CheckMessage]:
    """E020 to E023: the storage for backups."""
    return _run(preconditions.storage_problems)


@register(TAG, Tags.security, deploy=True)
def check_folders(**kwargs: Any) -> list[CheckMessage]:
    """E024, E025: folders that must not contain one another."""
    return _run(preconditions.folder_problems)


@register(TAG, Tags.security, deploy=True)
def check_encryption(**kwargs: Any) -> list[CheckMessage]:
    """E030, E031: the recipients who can decrypt the backups."""
    return _run(preconditions.encryption_problems)


@register(TAG, Tags.database, deploy=True)
def check_sqlite(**kwargs: Any) -> list[CheckMessage]:
    """E040: SQLite while DEBUG is off."""
    return _run(preconditions.sqlite_problems)


@register(TAG, Tags.security, deploy=True)
def check_next_backup(**kwargs: Any) -> list[CheckMessage]:
    """E041, E042, W002 to W007: what would go wrong in the next scheduled backup."""
    return _run(deploy_checks.find_problems)


@register(TAG)
def check_debug_storage(**kwargs: Any) -> list[CheckMessage]:
    """W001: backups go to a folder in the project, because DEBUG is on and no storage is configured."""
    if not settings.DEBUG or preconditions.has_storage():
        return []
    problem = Problem(
        id="igny8_backup.W001",
        message=(
            f"STORAGES has no 'dbbackup': with DEBUG on, backups go to {preconditions.default_folder()}."
        ),
        hint='Add STORAGES["dbbackup"]: see "Store backups in S3" in the documentation.',
    )
    return [_message(problem)]


def _run(find: Callable[[Config], list[Problem]]) -> list[CheckMessage]:
    """Run a check that needs valid settings; :func:`check_settings` reports invalid ones."""
    try:
        config = get_config()
    except ConfigurationError:
        return []
    return [_message(problem) for problem in find(config)]


def _message(problem: Problem) -> CheckMessage:
    """Convert a problem; its hint names the section of the documentation."""
    number = problem.id.rpartition(".")[2]
    kind = Error if number.startswith("E") else Warning
    hint = f'{problem.hint} See {number} under "Checks" in the documentation.'
    return kind(problem.message, hint=hint, id=problem.id)
