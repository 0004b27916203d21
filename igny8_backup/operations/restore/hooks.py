"""Run the hooks of the project, which are programs, before and after a restore.

``BEFORE_RESTORE`` stops what writes to the live data, ``AFTER_RESTORE`` starts it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from igny8_backup.common.outside import is_from_outside
from igny8_backup.conf import Config
from igny8_backup.errors import IncompleteError, ToolError, UnfinishedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.hook_programs import run_hook, unusable
from igny8_backup.signals import RESTORE, announced

BEFORE, AFTER = "before_restore", "after_restore"


def blockers(config: Config) -> list[str]:
    """Return a sentence for each hook of ``AFTER_RESTORE`` whose program cannot be run.

    Hooks of ``BEFORE_RESTORE`` are not checked: they run first, so if one fails, nothing is changed.
    """
    return unusable("AFTER_RESTORE", config.after_restore)


@contextmanager
def before_restore(
    context: BackupContext, backup_ids: tuple[str, ...], *, operation: str = RESTORE
) -> Iterator[None]:
    """Run ``BEFORE_RESTORE``, then the body of the ``with`` statement.

    The hooks receive ``backup_ids``, the backups to restore, and ``operation``, which is ``RESTORE`` or
    ``UNDO``.

    If the body fails before anything live was changed, a note asks the operator to start again whatever the
    hooks stopped. If a hook fails, the remaining hooks and the body are not run, and :class:`ToolError` is
    raised.
    """
    commands = context.config.before_restore
    if not commands:
        yield
        return
    environment = _environment(backup_ids)
    try:
        with announced(operation, BEFORE, backup_ids):
            for number, argv in enumerate(commands):
                run_hook(context, BEFORE, number, argv, environment, unchanged="Nothing was changed.")
        yield
    except UnfinishedError:
        raise  # the swap must be completed before anything is started again
    except BaseException:
        context.progress.note(
            "BEFORE_RESTORE was run and nothing live was changed. Start again what it stopped."
        )
        raise


@contextmanager
def incomplete_when_interrupted() -> Iterator[None]:
    """Raise :class:`IncompleteError` if a signal or time limit ends the ``with`` block.

    The block contains the steps after the swap, when everything is restored already. The exit status of an
    interruption would wrongly mean that nothing was restored.
    """
    try:
        yield
    except BaseException as error:
        if not is_from_outside(error):
            raise
        raise IncompleteError(
            "The command was stopped after everything was restored. It may not have purged the queues,"
            " checked the live databases, or run AFTER_RESTORE.",
            hint="Start what BEFORE_RESTORE stopped, and check that the application works.",
        ) from None


def after_restore(
    context: BackupContext, backup_ids: tuple[str, ...], *, operation: str = RESTORE
) -> tuple[str, ...]:
    """Run all of ``AFTER_RESTORE``; return a sentence for each hook that failed."""
    commands, environment = context.config.after_restore, _environment(backup_ids)
    failed = []
    if commands:
        with announced(operation, AFTER, backup_ids):
            for number, argv in enumerate(commands):
                try:
                    run_hook(context, AFTER, number, argv, environment, unchanged="Everything is restored.")
                except ToolError as error:
                    failed.append(str(error))
    return tuple(failed)


def _environment(backup_ids: tuple[str, ...]) -> dict[str, str]:
    return {"IGNY8_BACKUP_IDS": " ".join(backup_ids)}
