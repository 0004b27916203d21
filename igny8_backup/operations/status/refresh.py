"""Refresh the status document after a backup, and whenever the backups are monitored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from igny8_backup.conf import STORAGE_ALIAS
from igny8_backup.errors import BackupError, LockedError, StorageError
from igny8_backup.formats.status import SCHEMA, Status, StatusActive
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.monitor.health import Health
from igny8_backup.operations.monitor.run import read_and_judge
from igny8_backup.operations.status.build import build_status
from igny8_backup.operations.status.keep import keep_status, read_status
from igny8_backup.outside import is_from_outside

logger = logging.getLogger(__name__)


ACTIVE_FOR = timedelta(days=1)
"""After this time, work that has not ended is taken for killed, and is no longer shown."""


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
    for problem in keep_status(context.config, replace(status, active=_active(context))):
        context.progress.note(f"The status for the admin page was not kept. {problem}")
    return health


@dataclass
class OwnWork:
    """The work of this process. ``alone`` says that no other work of this host is active at its end.

    Work that holds the lock is alone, so entries of earlier work belong to processes that were killed.
    """

    alone: bool = True


@contextmanager
def refreshing_status(context: BackupContext, what: str = "a backup") -> Iterator[OwnWork]:
    """Refresh the status document when the block has ended, whether it succeeded or failed.

    While the block runs, the document says that ``what`` has begun. If the block fails because of the
    storage, the storage is not read again, because that could take long: only the error is added to the
    document. Errors of the refresh are not raised, because the work of the block is done. Nothing is
    refreshed if ``context`` is that of a copy in ``COPIES``, because the page shows the storage that backups
    are made into.
    """
    work = OwnWork()
    if context.alias != STORAGE_ALIAS:
        yield work
        return
    own = StatusActive(host=context.config.host, what=what, since=context.clock())
    _change_active(context, lambda active: (*active, own))

    def end() -> None:
        def left(item: StatusActive) -> bool:
            killed = work.alone and item.host == own.host and item.since < own.since
            return item != own and not killed

        _change_active(context, lambda active: tuple(filter(left, active)))

    try:
        yield work
    except LockedError:
        work.alone = False  # the run that holds the lock refreshes the status
        end()
        raise
    except StorageError as error:
        end()
        keep_status(context.config, _with_problem(context, str(error)))
        raise
    except BaseException as error:
        end()
        if not is_from_outside(error):
            with suppress(Exception):  # whatever happens now, the error of the work is what counts
                _refresh_quietly(context)
        raise
    end()
    _refresh_quietly(context)


def _change_active(
    context: BackupContext, change: Callable[[tuple[StatusActive, ...]], tuple[StatusActive, ...]]
) -> None:
    """Change the work that is active according to the document, if there is a document."""
    last = read_status(context.config).status
    if last is not None and (active := change(_active(context))) != last.active:
        keep_status(context.config, replace(last, active=active))


def _active(context: BackupContext) -> tuple[StatusActive, ...]:
    """Return the work that has begun and has not ended, according to the document that is kept."""
    last, now = read_status(context.config).status, context.clock()
    return tuple(item for item in last.active if now - item.since < ACTIVE_FOR) if last else ()


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
