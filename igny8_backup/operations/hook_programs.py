"""Run the hooks: programs in the settings that run before and after a backup or a restore."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from igny8_backup.conf import SETTING
from igny8_backup.errors import BackupError, ToolError
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.process import feed_process

BEAT_SECONDS = 60.0


def unusable(setting: str, commands: Sequence[Sequence[str]]) -> list[str]:
    """Return a sentence for each of the ``commands`` in ``setting`` whose program cannot be run."""
    return [
        f"The program of the hook {setting}[{number}] does not exist or cannot be run: {argv[0]}."
        for number, argv in enumerate(commands)
        if shutil.which(argv[0]) is None
    ]


def run_hook(
    context: BackupContext,
    phase: str,
    number: int,
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    unchanged: str,
    heartbeat: Callable[[], None] = lambda: None,
) -> None:
    """Run a hook: the program and arguments ``argv``.

    ``phase`` is the name of the setting that the hook is in, in lower case, and ``number`` its index there.
    ``environment`` is added to the environment of this process. ``heartbeat`` is called every
    ``BEAT_SECONDS`` while the hook runs. Raises :class:`ToolError`; ``unchanged`` is its sentence on what was
    not changed.
    """
    # Only the program is named, because an argument may be a secret.
    hook = f"{phase.upper()}[{number}] ({argv[0]})"
    context.progress.note(f"Running {hook}.")
    try:
        with context.observe(hook) as observer, _beating(heartbeat):
            observer.waiting_for("the hook")
            # Collects the hook's output for the error; does not wait for processes that the hook leaves
            # running.
            feed_process(
                argv, from_bytes(b""), env={**os.environ, "IGNY8_BACKUP_PHASE": phase, **environment}
            )
    except ToolError as error:
        raise ToolError(
            f"The hook {hook} failed: {error.what.rstrip('.')}.",
            unchanged=unchanged,
            hint=f"Fix the program, or change {SETTING}[{phase.upper()!r}].",
            stderr_tail=error.stderr_tail,
            exit_status_of_tool=error.exit_status_of_tool,
        ) from None


@contextmanager
def _beating(heartbeat: Callable[[], None]) -> Iterator[None]:
    """Call ``heartbeat`` at intervals during the ``with`` block, in which nothing makes progress."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                heartbeat()
            except BackupError:
                continue  # the next step of the run meets the storage, and reports its failure

    thread = threading.Thread(target=beat, name="igny8_backup-hook", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
