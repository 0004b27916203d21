"""Run the hooks of the project, which are programs, before and after a backup.

``BEFORE_BACKUP`` prepares the data, for example by pausing a writer. ``AFTER_BACKUP`` reverses the
preparation. Its programs run even if the backup failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from igny8_backup.conf import SETTING
from igny8_backup.errors import BackupError, ToolError, ToolMissingError
from igny8_backup.formats.manifest import COMPLETE, FAILED, INCOMPLETE
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run_record import RunRecorder
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.hook_programs import run_hook, unusable
from igny8_backup.signals import BACKUP, announced

BEFORE, AFTER = "before_backup", "after_backup"


@contextmanager
def around_backup(
    context: BackupContext,
    request: BackupRequest,
    backup_id: str,
    errors: Mapping[str, BackupError],
    record: RunRecorder,
) -> Iterator[None]:
    """Run ``BEFORE_BACKUP``, then the body of the ``with`` statement, then ``AFTER_BACKUP``.

    If a program of ``BEFORE_BACKUP`` fails, its remaining programs and the body are not run, and
    :class:`ToolError` is raised. All programs of ``AFTER_BACKUP`` run even if ``BEFORE_BACKUP`` or the body
    failed, or the body was interrupted. They receive the outcome of the backup, which is incomplete if the
    body has recorded ``errors``. If the body ended without an exception, each program of ``AFTER_BACKUP``
    that fails is recorded as a shortfall of the run.

    If a program of either setting is missing, nothing is run, and :class:`ToolMissingError` is raised. No
    hooks run for the safety backup of a restore, because the hooks of the restore have run already. While the
    programs run, the heartbeat in ``record``, the record of the run, is renewed.
    """
    if request.safety:
        yield
        return
    heartbeat = record.renew_heartbeat
    _require_usable(context)
    try:
        _before(context, backup_id, heartbeat)
        yield
    except BaseException:
        for text in _after(context, backup_id, FAILED, heartbeat, stored="No backup was stored."):
            context.progress.note(text)
        raise
    outcome = INCOMPLETE if errors else COMPLETE
    for text in _after(context, backup_id, outcome, heartbeat, stored="The backup is stored."):
        context.shortfalls.add("", AFTER, text)


def _require_usable(context: BackupContext) -> None:
    config = context.config
    missing = [
        *unusable("BEFORE_BACKUP", config.before_backup),
        *unusable("AFTER_BACKUP", config.after_backup),
    ]
    if missing:
        hint = f"Install the program, or change {SETTING}['BEFORE_BACKUP'] or ['AFTER_BACKUP']."
        raise ToolMissingError(" ".join(missing), unchanged="No hook was run.", hint=hint)


def _before(context: BackupContext, backup_id: str, heartbeat: Callable[[], None]) -> None:
    commands = context.config.before_backup
    if not commands:
        return
    environment = {"IGNY8_BACKUP_IDS": backup_id}
    with announced(BACKUP, BEFORE, (backup_id,)):
        for number, argv in enumerate(commands):
            unchanged = "Nothing was backed up."
            run_hook(context, BEFORE, number, argv, environment, unchanged=unchanged, heartbeat=heartbeat)


def _after(
    context: BackupContext, backup_id: str, outcome: str, heartbeat: Callable[[], None], *, stored: str
) -> list[str]:
    """Run all programs of ``AFTER_BACKUP``; return a sentence for each one that failed.

    ``outcome`` is the outcome of the backup, which the programs receive. ``heartbeat`` is called at intervals
    while a program runs. ``stored`` is a sentence for error messages: whether the backup is stored.
    """
    commands = context.config.after_backup
    environment = {"IGNY8_BACKUP_IDS": backup_id, "IGNY8_BACKUP_OUTCOME": outcome}
    failed = []
    if commands:
        with announced(BACKUP, AFTER, (backup_id,)):
            for number, argv in enumerate(commands):
                try:
                    run_hook(context, AFTER, number, argv, environment, unchanged=stored, heartbeat=heartbeat)
                except ToolError as error:
                    failed.append(str(error))
    return failed
