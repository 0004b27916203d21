"""Refresh the status document after a backup, and whenever the backups are monitored."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.errors import BackupError, LockedError, StorageError
from igny8_backup.formats.documents.status import SCHEMA, Status
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.monitor.health import Health
from igny8_backup.operations.monitor.run import read_and_judge
from igny8_backup.operations.status.build import build_status
from igny8_backup.operations.status.follow import followed
from igny8_backup.operations.status.keep import keep_status, read_status

logger = logging.getLogger(__name__)


def refresh_status(context: BackupContext) -> Health:
    """Check all conditions, as ``monitor`` does, and keep the result for the page in the admin.

    If the storage cannot be read, its error is added to the last known state. A document that cannot be
    written is noted and not an error.
    """
    inventory, health = read_and_judge(context)
    if inventory is None:
        status = _with_problem(context, health.conditions[0].text)
    else:
        status = build_status(context, inventory, health)
    for problem in keep_status(context.config, status):
        context.progress.note(f"The status for the admin page was not kept. {problem}")
    return health


@contextmanager
def refreshing_status(context: BackupContext, what: str = "a backup") -> Iterator[BackupContext]:
    """Refresh the status document when the block has ended, whether it succeeded or failed.

    Yields the context to use in the block. While the block runs, the activity document says how far it is;
    ``what`` describes the work. If the block fails because of the storage, the storage is not read again,
    because that could take long: only the error is added to the status. Errors of the refresh are not raised,
    because the work of the block is done. Nothing is reported if ``context`` is that of a copy in ``COPIES``,
    because the page shows the storage that backups are made into.
    """
    if context.alias != STORAGE_ALIAS:
        yield context
        return
    try:
        with followed(context, what) as reporting:
            yield reporting
    except LockedError:
        raise  # the run that holds the lock refreshes the status
    except StorageError as error:
        keep_status(context.config, _with_problem(context, str(error)))
        raise
    except BaseException as error:
        if not is_from_outside(error):
            with suppress(Exception):  # whatever happens now, the error of the work is what counts
                _refresh_quietly(context)
        raise
    _refresh_quietly(context)


def _refresh_quietly(context: BackupContext) -> None:
    try:
        refresh_status(context)
    except Exception as error:  # a fault in what is only shown must not fail a backup
        if is_from_outside(error) and not isinstance(error, MemoryError):
            raise
        if not isinstance(error, BackupError):
            logger.exception("Unexpected failure while the status was refreshed")
        context.progress.note(f"The status for the admin page was not refreshed. {error}")


def _with_problem(context: BackupContext, problem: str) -> Status:
    config = context.config
    last = read_status(config).status or Status(
        schema=SCHEMA, host=config.host, environment=config.environment, storage=context.store.describe()
    )
    return replace(last, problem=problem, problem_at=context.clock())
