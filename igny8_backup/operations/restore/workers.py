"""Decide what happens to Celery workers while live data is replaced: refuse, stop them, or ignore them."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.celery.workers import Workers, ask_workers, purge_queues, stop_workers
from igny8_backup.errors import BackupError, RefusedError
from igny8_backup.humanize import count_in_words
from igny8_backup.operations.context import BackupContext

REFUSE, STOP, IGNORE = "refuse", "stop", "ignore"
STOP_SECONDS = 300
"""The default of ``WorkersPolicy.seconds``."""

_HINT = "Stop them (docker compose stop worker beat), or give --stop-workers or --ignore-workers."


@dataclass(frozen=True, kw_only=True)
class WorkersPolicy:
    """The handling of Celery workers during a restore.

    ``mode``: ``refuse`` the restore while workers answer, ``stop`` them, or ``ignore`` them. ``seconds``: the
    time that running tasks may take to finish. ``purge``: empty the queues after the restore.
    """

    mode: str = REFUSE
    seconds: float = STOP_SECONDS
    purge: bool = False


def workers_notes(workers: Workers, policy: WorkersPolicy) -> list[str]:
    """Return notes on the workers and queues, to be read before confirming."""
    notes = []
    if workers.names and policy.mode == STOP:
        notes.append(f"{_listed(workers.names)} and will be stopped. Start them again afterwards.")
    if workers.names and policy.mode == IGNORE:
        notes.append(
            f"{_listed(workers.names)} and will keep running. What they write before the swap will not be in"
            " the restored data."
        )
    if workers.waiting:
        tasks = count_in_words(workers.waiting, "task")
        notes.append(
            f"{tasks} in the queues will be discarded."
            if policy.purge
            else f"{tasks} in the queues may not match the restored data: --purge-queue discards them."
        )
    return notes


def workers_blockers(workers: Workers, policy: WorkersPolicy, *, hooks: bool) -> list[str]:
    """Return a blocker if workers answer and the policy is to refuse.

    ``hooks``: there are ``BEFORE_RESTORE`` hooks, which may stop the workers. Then nothing is returned, and
    :func:`ensure_workers_stopped` refuses later.
    """
    if policy.mode != REFUSE or not workers.names or hooks:
        return []
    return [f"{_listed(workers.names)}. {_HINT}"]


def ensure_workers_stopped(context: BackupContext, policy: WorkersPolicy) -> tuple[str, ...]:
    """Ask the workers again and apply ``policy``; return the names of the workers that were stopped.

    Raises :class:`RefusedError` if workers answer and the policy is to refuse, or if one does not stop in
    time.
    """
    if policy.mode == IGNORE:
        return ()
    if policy.mode == STOP:
        stopped = stop_workers(seconds=policy.seconds)
        if stopped:
            context.progress.note(f"Stopped these Celery workers: {', '.join(stopped)}.")
        return stopped
    names = ask_workers().names
    if names:
        raise RefusedError(f"{_listed(names)}.", unchanged="Nothing live was changed.", hint=_HINT)
    return ()


def purge(policy: WorkersPolicy, workers: Workers) -> tuple[int | None, tuple[str, ...]]:
    """Empty the queues if ``policy`` says so; return the number of discarded tasks, and warnings."""
    if not policy.purge:
        return None, ()
    try:
        return purge_queues([queue.name for queue in workers.queues]), ()
    except BackupError as error:
        return None, (str(error),)


def _listed(names: tuple[str, ...]) -> str:
    verb = "answers" if len(names) == 1 else "answer"
    return f"{count_in_words(len(names), 'worker')} {verb} ({', '.join(names)})"
