"""System checks: what is wrong with the settings, before it is 2 a.m.

Errors register with ``deploy=True``: a plain error would stop ``migrate`` and deployments. The commands of
this app ask the same questions themselves.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from igny8_backup.conf import ConfigurationError, Problem, get_config, problems
from igny8_backup.operations import deploy_checks, preconditions

TAG = "backup"


@register(TAG, Tags.security, deploy=True)
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """E001 to E019, E026: ``IGNY8_BACKUP`` by itself."""
    return [_message(problem) for problem in problems()]


@register(TAG, Tags.security, deploy=True)
def check_storage(**kwargs: Any) -> list[CheckMessage]:
    """E020 to E023: where backups go."""
    try:
        config = get_config()
    except ConfigurationError:
        return []  # check_settings says why.
    return [_message(problem) for problem in preconditions.storage_problems(config)]


@register(TAG, Tags.security, deploy=True)
def check_folders(**kwargs: Any) -> list[CheckMessage]:
    """E024, E025: folders that must not lie in one another."""
    try:
        config = get_config()
    except ConfigurationError:
        return []
    return [_message(problem) for problem in preconditions.folder_problems(config)]


@register(TAG, Tags.security, deploy=True)
def check_encryption(**kwargs: Any) -> list[CheckMessage]:
    """E030, E031: who will be able to read them."""
    try:
        config = get_config()
    except ConfigurationError:
        return []
    return [_message(problem) for problem in preconditions.encryption_problems(config)]


@register(TAG, Tags.database, deploy=True)
def check_sqlite(**kwargs: Any) -> list[CheckMessage]:
    """E040: SQLite outside DEBUG."""
    try:
        config = get_config()
    except ConfigurationError:
        return []
    if config.debug:
        return []
    return [
        _message(
            Problem(
                id="igny8_backup.E040",
                message=f"The database {alias!r} is SQLite and DEBUG is off: it will not be backed up.",
                hint="Set DATABASE_URL (or DB_NAME and DB_HOST) for this process.",
            )
        )
        for alias in config.databases
        if connections[alias].vendor == "sqlite"
    ]


@register(TAG, Tags.security, deploy=True)
def check_night(**kwargs: Any) -> list[CheckMessage]:
    """E041, E042, W002 to W007: what the night would find."""
    try:
        config = get_config()
    except ConfigurationError:
        return []
    found = deploy_checks.missing_trees(config) + deploy_checks.unset_host(config)
    found += deploy_checks.absent_schedule() + deploy_checks.readable_secrets(config)
    found += deploy_checks.legacy_dumps() + deploy_checks.unfit_databases(config)
    return [_message(problem) for problem in found]


@register(TAG)
def check_debug_storage(**kwargs: Any) -> list[CheckMessage]:
    """W001: DEBUG without a storage of its own."""
    if not settings.DEBUG or preconditions.has_storage():
        return []
    problem = Problem(
        id="igny8_backup.W001",
        message=f"STORAGES has no 'dbbackup': in DEBUG backups go to {preconditions.default_folder()}.",
        hint='Add STORAGES["dbbackup"]: see "Store backups in S3" in the documentation.',
    )
    return [_message(problem)]


def _message(problem: Problem) -> CheckMessage:
    """As Django shows it, with its section in the documentation."""
    number = problem.id.rpartition(".")[2]
    kind = Error if number.startswith("E") else Warning
    hint = f'{problem.hint} See {number} under "Checks" in the documentation.'
    return kind(problem.message, hint=hint, id=problem.id)
