"""Run the project's programs around a restore.

``BEFORE_RESTORE`` stops what writes to the live data, ``AFTER_RESTORE`` starts it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from igny8_backup.conf import SETTING
from igny8_backup.errors import IncompleteError, ToolError, UnfinishedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.signals import RESTORE, announced
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.process import feed_process

BEFORE, AFTER = "before_restore", "after_restore"


@contextmanager
def before_restore(
    context: BackupContext, backup_ids: tuple[str, ...], *, operation: str = RESTORE
) -> Iterator[None]:
    """Run ``BEFORE_RESTORE``, then the body of the ``with`` statement. ``operation`` may also be ``UNDO``.

    If the body fails, tell the operator to start again what the hooks have stopped. Raises
    :class:`ToolError` for the first hook that fails; the later hooks are not run then.
    """
    commands = context.config.before_restore
    if not commands:
        yield
        return
    try:
        with announced(operation, BEFORE, backup_ids):
            for number in range(len(commands)):
                _run(context, BEFORE, commands, number, backup_ids, unchanged="Nothing was changed.")
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
    """Raise :class:`IncompleteError` for a signal that arrives in the body, which runs after the swap.

    The exit status of an interruption would suggest that nothing was restored.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise IncompleteError(
            "The command was stopped after everything was restored. Purging the queues, checking the live"
            " databases or AFTER_RESTORE may be missing.",
            hint="Start what BEFORE_RESTORE stopped, and check that the application works.",
        ) from None


def after_restore(
    context: BackupContext, backup_ids: tuple[str, ...], *, operation: str = RESTORE
) -> tuple[str, ...]:
    """Run all of ``AFTER_RESTORE``; return a sentence for each hook that failed."""
    commands = context.config.after_restore
    failed = []
    if commands:
        with announced(operation, AFTER, backup_ids):
            for number in range(len(commands)):
                try:
                    _run(context, AFTER, commands, number, backup_ids, unchanged="Everything is restored.")
                except ToolError as error:
                    failed.append(str(error))
    return tuple(failed)


def _run(
    context: BackupContext,
    phase: str,
    commands: Sequence[Sequence[str]],
    number: int,
    backup_ids: tuple[str, ...],
    *,
    unchanged: str,
) -> None:
    argv = commands[number]
    # Only the program is named, because an argument may be a secret.
    hook = f"{phase.upper()}[{number}] ({argv[0]})"
    context.progress.note(f"Running {hook}.")
    environment = {"IGNY8_BACKUP_PHASE": phase, "IGNY8_BACKUP_IDS": " ".join(backup_ids)}
    try:
        with context.observe(hook) as observer:
            observer.waiting_for("the hook")
            # Keeps the hook's output for the error. Does not wait for processes that the hook leaves running.
            feed_process(argv, from_bytes(b""), env={**os.environ, **environment})
    except ToolError as error:
        raise ToolError(
            f"The hook {hook} failed: {error.what.rstrip('.')}.",
            unchanged=unchanged,
            hint=f"Fix the program, or change {SETTING}[{phase.upper()!r}].",
            stderr_tail=error.stderr_tail,
            exit_status_of_tool=error.exit_status_of_tool,
        ) from None
