"""Django system checks of the settings, and of the conditions that the next backup needs.

All errors are registered with ``deploy=True``, because other errors would make ``migrate`` and deployments
fail. The commands of this app run the same checks themselves. Importing this module imports nothing else of
the package: a missing dependency is reported by a check and does not keep the project from starting.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

if TYPE_CHECKING:
    from igny8_backup.conf import Config, Problem

TAG = "backup"

Check = Callable[..., "list[Problem]"]


def _registered(*tags: str, deploy: bool) -> Callable[[Check], Check]:
    """Return W009 from a check that raises, mostly because a package is not installed; register the check."""

    def decorate(find: Check) -> Check:
        @functools.wraps(find)
        def check(**kwargs: Any) -> list[CheckMessage]:
            try:
                return [_message(problem) for problem in find(**kwargs)]
            except Exception as error:  # a check that raises would stop runserver, migrate and deployments
                return [_failed(find.__name__, error)]

        register(check, TAG, *tags, deploy=deploy)
        return find

    return decorate


@_registered(Tags.security, deploy=True)
def check_settings(**kwargs: Any) -> list[Problem]:
    """Return E001 to E019, E026 and E027: wrong values in ``IGNY8_BACKUP``."""
    from igny8_backup.conf import problems

    return problems()


@_registered(Tags.security, deploy=True)
def check_storage(**kwargs: Any) -> list[Problem]:
    """Return E020 to E023: an unusable or unsafe storage for backups."""
    from igny8_backup.operations import preconditions

    return _run(preconditions.storage_problems)


@_registered(Tags.security, deploy=True)
def check_folders(**kwargs: Any) -> list[Problem]:
    """Return E024 and E025: folders that must not contain one another."""
    from igny8_backup.operations import preconditions

    return _run(preconditions.folder_problems)


@_registered(Tags.security, deploy=True)
def check_encryption(**kwargs: Any) -> list[Problem]:
    """Return E030 and E031: missing or invalid recipients of encrypted backups."""
    from igny8_backup.operations import preconditions

    return _run(preconditions.encryption_problems)


@_registered(Tags.database, deploy=True)
def check_sqlite(**kwargs: Any) -> list[Problem]:
    """Return E040: a SQLite database while DEBUG is off."""
    from igny8_backup.operations import preconditions

    return _run(preconditions.sqlite_problems)


@_registered(Tags.security, deploy=True)
def check_next_backup(**kwargs: Any) -> list[Problem]:
    """Return E041, E042 and W002 to W007: reasons why the next scheduled backup would fail or be unsafe."""
    from igny8_backup.operations import deploy_checks

    return _run(deploy_checks.find_problems)


@_registered(deploy=False)
def check_debug_storage(**kwargs: Any) -> list[Problem]:
    """Return W001: no storage is configured, so with DEBUG on, backups go to a folder in the project."""
    from igny8_backup.conf import Problem
    from igny8_backup.operations import preconditions

    if not settings.DEBUG or preconditions.has_storage():
        return []
    hint = 'Add STORAGES["dbbackup"]: see "Store backups in S3" in the documentation.'
    message = preconditions.debug_storage_note()
    return [Problem(id="igny8_backup.W001", message=message, hint=hint)]


def _run(find: Callable[[Config], list[Problem]]) -> list[Problem]:
    """Run a check that needs valid settings. Invalid settings are reported by :func:`check_settings`."""
    from igny8_backup.conf import ConfigurationError, get_config

    try:
        config = get_config()
    except ConfigurationError:
        return []
    return find(config)


def _message(problem: Problem) -> CheckMessage:
    """Convert a problem to a message of Django, whose hint refers to the documentation of the check."""
    number = problem.id.rpartition(".")[2]
    kind = Error if number.startswith("E") else Warning
    hint = f'{problem.hint} See {number} under "Checks" in the documentation.'
    return kind(problem.message, hint=hint, id=problem.id)


def _failed(name: str, error: Exception) -> CheckMessage:
    """Describe the exception of a check. Only the text of an ImportError cannot hold a secret."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = str(error) if isinstance(error, ImportError) else f"in {frame.filename}, line {frame.lineno}"
    return Warning(
        f"The check {name} could not run: {type(error).__name__}: {reason}.",
        hint="Backups would fail for the same reason. If a package is missing, install this one again with"
        " its dependencies: pip install --force-reinstall igny8-backup. See W009 under"
        ' "Checks" in the documentation.',
        id="igny8_backup.W009",
    )
