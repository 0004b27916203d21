"""Django system checks of the settings, and of the conditions that the next backup needs.

All checks that can return errors are registered with ``deploy=True``: without it, an error would make
``migrate`` fail. The commands of this app run the same checks themselves. Of this package, importing this
module imports only ``outside``, which has no dependencies. So a missing dependency is reported by a check and
does not keep the project from starting.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from igny8_backup.common.outside import is_from_outside

if TYPE_CHECKING:
    from igny8_backup.conf import Config, Problem

TAG = "backup"

Check = Callable[..., "list[Problem]"]


def _registered(*tags: str, deploy: bool) -> Callable[[Check], Check]:
    """Return a decorator that registers a system check with Django.

    A check that raises, mostly because a package is not installed, reports W009 instead of its problems. With
    ``deploy`` the check runs only under ``check --deploy``.
    """

    def decorate(find: Check) -> Check:
        @functools.wraps(find)
        def check(**kwargs: Any) -> list[CheckMessage]:
            try:
                return [_message(problem) for problem in find(**kwargs)]
            except Exception as error:  # a check that raises would stop runserver, migrate and deployments
                if is_from_outside(error):
                    raise
                return [_failed(find.__name__, error)]

        register(check, TAG, *tags, deploy=deploy)
        return find

    return decorate


@_registered(Tags.security, deploy=True)
def check_settings(**kwargs: Any) -> list[Problem]:
    """Return E001 to E019, E026 to E028, E035 to E039, E044, E046, E047, E050, E058, E060 to E063."""
    from igny8_backup.conf import problems

    return problems()


@_registered(Tags.security, deploy=True)
def check_storage(**kwargs: Any) -> list[Problem]:
    """Return E020 to E023 and E029: an unusable or unsafe storage for backups or copies."""
    from igny8_backup.operations.guards import preconditions

    return _run(preconditions.storage_problems) + _of_copies(preconditions.storage_problems)


@_registered(Tags.security, deploy=True)
def check_folders(**kwargs: Any) -> list[Problem]:
    """Return E024 and E025: folders that must not contain one another."""
    from igny8_backup.operations.guards import preconditions

    return _run(preconditions.folder_problems)


@_registered(Tags.security, deploy=True)
def check_encryption(**kwargs: Any) -> list[Problem]:
    """Return E030 to E032: missing or invalid recipients, and unencrypted backups in a public storage."""
    from igny8_backup.operations.guards import preconditions

    exposed = _run(preconditions.exposure_problems) + _of_copies(preconditions.exposure_problems)
    return _run(preconditions.encryption_problems) + exposed


@_registered(Tags.database, deploy=True)
def check_sqlite(**kwargs: Any) -> list[Problem]:
    """Return E040: a SQLite database while DEBUG is off."""
    from igny8_backup.operations.guards import preconditions

    return _run(preconditions.sqlite_problems)


@_registered(Tags.security, deploy=True)
def check_next_backup(**kwargs: Any) -> list[Problem]:
    """Return E032, E041 to E045, W002 to W008, W010 to W014, W019, W020, W022, W023, W030 to W033.

    They are problems to expect in the next backup, found on the disk, in the storage and on the servers.
    """
    from igny8_backup.operations import deploy_checks

    return _run(deploy_checks.find_problems)


@_registered(deploy=True)
def check_notifications(**kwargs: Any) -> list[Problem]:
    """Return W050: notifications are configured, and the package that sends them is not installed."""
    from igny8_backup.operations.notify import services

    return _run(services.problems)


@_registered(deploy=True)
def check_admin_page(**kwargs: Any) -> list[Problem]:
    """Return W060 and W061: the page in the admin cannot read the status that backups write."""
    from igny8_backup.operations.status import checks

    return _run(checks.find_problems)


@_registered(deploy=True)
def check_schedule(**kwargs: Any) -> list[Problem]:
    """Return W070 and W071: RETENTION or the time that a backup takes does not fit the schedule."""
    from igny8_backup.operations.status import schedule

    return _run(schedule.find_problems)


@_registered(deploy=True)
def check_fleet(**kwargs: Any) -> list[Problem]:
    """Return W080 to W084: hosts in HOSTS that cannot take part in a fleet backup, and what none backs up."""
    from igny8_backup.operations.fleet import hosts

    return _run(hosts.find_problems)


@_registered(deploy=False)
def check_debug_storage(**kwargs: Any) -> list[Problem]:
    """Return W001: no storage is configured, so with DEBUG on, backups go to a folder in the project."""
    from igny8_backup.conf import Problem
    from igny8_backup.operations.guards import preconditions

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


def _of_copies(find: Callable[[Config, str], list[Problem]]) -> list[Problem]:
    """Run a check once for each copy in ``COPIES``, with the alias of the storage that holds the copy."""
    return _run(lambda config: [one for copy in config.copies.values() for one in find(config, copy.storage)])


def _message(problem: Problem) -> CheckMessage:
    """Convert a problem to a message of Django. The hint also names the documentation of the check."""
    number = problem.id.rpartition(".")[2]
    kind = Error if number.startswith("E") else Warning
    page = "Checks" if kind is Error else "Warnings of checks"
    hint = f'{problem.hint} See {number} under "{page}" in the documentation.'
    return kind(problem.message, hint=hint, id=problem.id)


def _failed(name: str, error: Exception) -> CheckMessage:
    """Return W009, which describes the exception that a check raised.

    The text of the exception could contain a secret, so it is shown for ``ImportError`` only.
    """
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = str(error) if isinstance(error, ImportError) else f"in {frame.filename}, line {frame.lineno}"
    return Warning(
        f"The check {name} could not run: {type(error).__name__}: {reason}.",
        hint="Backups would fail for the same reason. If a package is missing, install igny8-backup again"
        " with its dependencies: pip install --force-reinstall igny8-backup. See W009 under"
        ' "Warnings of checks" in the documentation.',
        id="igny8_backup.W009",
    )
