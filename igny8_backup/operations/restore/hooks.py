"""Run the hooks of the project, which are programs, before and after a restore.

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

    If the body fails before anything live was changed, a note asks the operator to restart whatever the hooks
    stopped. If a hook fails, the remaining hooks are not run and :class:`ToolError` is raised.
    """
    commands = context.config.before_restore
    if not commands:
        yield
        return
    try:
        with announced(operation, BEFORE, backup_ids):
            for number, argv in enumerate(commands):
                _run(context, BEFORE, number, argv, backup_ids, unchanged="Nothing was changed.")
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
    """Raise :class:`IncompleteError` if a signal arrives in the ``with`` block, which runs after the swap.

    The exit status of an interruption would mean that nothing was restored.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise IncompleteError(
            "The command was stopped after everything was restored. It may not have purged the queues,"
            " checked the live databases, or run AFTER_RESTORE.",
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
            for number, argv in enumerate(commands):
                try:
                    _run(context, AFTER, number, argv, backup_ids, unchanged="Everything is restored.")
                except ToolError as error:
                    failed.append(str(error))
    return tuple(failed)


def _run(
    context: BackupContext,
    phase: str,
    number: int,
    argv: Sequence[str],
    ids: tuple[str, ...],
    *,
    unchanged: str,
) -> None:
    # Only the program is named, because an argument may be a secret.
    hook = f"{phase.upper()}[{number}] ({argv[0]})"
    context.progress.note(f"Running {hook}.")
    environment = {"IGNY8_BACKUP_PHASE": phase, "IGNY8_BACKUP_IDS": " ".join(ids)}
    try:
        with context.observe(hook) as observer:
            observer.waiting_for("the hook")
            # Collects the hook's output for the error; does not wait for processes that the hook leaves
            # running.
            feed_process(argv, from_bytes(b""), env={**os.environ, **environment})
    except ToolError as error:
        raise ToolError(
            f"The hook {hook} failed: {error.what.rstrip('.')}.",
            unchanged=unchanged,
            hint=f"Fix the program, or change {SETTING}[{phase.upper()!r}].",
            stderr_tail=error.stderr_tail,
            exit_status_of_tool=error.exit_status_of_tool,
        ) from None
