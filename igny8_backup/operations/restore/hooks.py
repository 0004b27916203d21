"""Programs of the project round a restore: to stop what writes before, and to start it again after."""

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
    """Runs ``BEFORE_RESTORE``, then what is inside the context; if that fails, says that the hooks have run.
    Going back is a restore too.

    Raises :class:`ToolError` for the first hook that fails; the later ones are not run then.
    """
    commands = context.config.before_restore
    if not commands:
        yield
        return
    try:
        with announced(operation, BEFORE, backup_ids):
            for number in range(len(commands)):
                _run(context, BEFORE, commands, number, backup_ids, unchanged="Nothing was restored.")
        yield
    except UnfinishedError:
        raise  # to be completed before anything is started
    except BaseException:
        context.progress.note("BEFORE_RESTORE was run and nothing was restored: start again what it stopped.")
        raise


@contextmanager
def when_restored() -> Iterator[None]:
    """What comes when all is restored. Stopped there, the restore must not look like one that changed
    nothing: raises :class:`IncompleteError`."""
    try:
        yield
    except KeyboardInterrupt:
        raise IncompleteError(
            "It was stopped when all was restored: the queues, the check of what is live or AFTER_RESTORE may"
            " be left to do.",
            hint="Start what BEFORE_RESTORE stopped, and look whether the application works.",
        ) from None


def after_restore(
    context: BackupContext, backup_ids: tuple[str, ...], *, operation: str = RESTORE
) -> tuple[str, ...]:
    """Runs each of ``AFTER_RESTORE``; returns a sentence for each that failed."""
    commands = context.config.after_restore
    failed = []
    if commands:
        with announced(operation, AFTER, backup_ids):
            for number in range(len(commands)):
                try:
                    _run(context, AFTER, commands, number, backup_ids, unchanged="All is restored.")
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
    # Only the program is named: an argument may be a secret.
    which = f"{phase.upper()}[{number}] ({argv[0]})"
    context.progress.note(f"Running {which}.")
    environment = {"IGNY8_BACKUP_PHASE": phase, "IGNY8_BACKUP_IDS": " ".join(backup_ids)}
    try:
        with context.observe(which) as observer:
            observer.waiting_for("the hook")
            # What it prints is kept for the error, and nothing waits for what it leaves running.
            feed_process(argv, from_bytes(b""), env={**os.environ, **environment})
    except ToolError as error:
        raise ToolError(
            f"The hook {which} failed: {str(error).rstrip('.')}.",
            unchanged=unchanged,
            hint=f"Mend it, or change {SETTING}[{phase.upper()!r}].",
            stderr_tail=error.stderr_tail,
            exit_status_of_tool=error.exit_status_of_tool,
        ) from None
