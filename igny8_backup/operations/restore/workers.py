"""Nobody at work while databases are swapped: workers that answer are refused, stopped, or ignored."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.celery.workers import Workers, ask_workers, purge_queues, stop_workers
from igny8_backup.errors import BackupError, RefusedError
from igny8_backup.humanize import count_in_words
from igny8_backup.operations.context import BackupContext

REFUSE, STOP, IGNORE = "refuse", "stop", "ignore"
STOP_SECONDS = 300
"""How long running tasks may take, unless told otherwise."""

_WAYS_OUT = "Stop them (docker compose stop worker beat), or give --stop-workers or --ignore-workers."


@dataclass(frozen=True, kw_only=True)
class WorkersPolicy:
    """``mode``: ``refuse`` while workers answer, ``stop`` them within ``seconds``, or ``ignore`` them. With
    ``purge`` the queues are emptied once all is restored."""

    mode: str = REFUSE
    seconds: float = STOP_SECONDS
    purge: bool = False


def workers_notes(workers: Workers, policy: WorkersPolicy) -> list[str]:
    """What to know of the workers before agreeing."""
    notes = []
    if workers.names and policy.mode == STOP:
        notes.append(f"{_listed(workers.names)}, and will be stopped: start them again afterwards.")
    if workers.names and policy.mode == IGNORE:
        notes.append(
            f"{_listed(workers.names)}, and will go on: what they write before the swap is set aside with"
            " the old data."
        )
    if workers.waiting:
        fate = (
            "will be discarded"
            if policy.purge
            else "may be of another time: --purge-queue discards what waits"
        )
        notes.append(f"{count_in_words(workers.waiting, 'task')} in the queues {fate}.")
    return notes


def workers_blockers(workers: Workers, policy: WorkersPolicy, *, hooks: bool) -> list[str]:
    """Workers that answer and are neither to be stopped nor ignored. ``hooks``, which run before anything is
    made, may stop them: they are asked again then."""
    if policy.mode != REFUSE or not workers.names or hooks:
        return []
    return [f"{_listed(workers.names)}. {_WAYS_OUT}"]


def ensure_workers_stopped(context: BackupContext, policy: WorkersPolicy) -> tuple[str, ...]:
    """Asks the workers again, and does as ``policy`` says; returns the names of those that were stopped.

    Raises :class:`RefusedError` where one answers that must not, or does not stop in time.
    """
    if policy.mode == IGNORE:
        return ()
    if policy.mode == STOP:
        stopped = stop_workers(seconds=policy.seconds)
        if stopped:
            context.progress.note(f"Stopped: {', '.join(stopped)}.")
        return stopped
    names = ask_workers().names
    if names:
        raise RefusedError(f"{_listed(names)}.", unchanged="Nothing was restored.", hint=_WAYS_OUT)
    return ()


def purge(policy: WorkersPolicy, workers: Workers) -> tuple[int | None, tuple[str, ...]]:
    """Empties the queues, where ``policy`` says so: how many tasks were discarded, and warnings."""
    if not policy.purge:
        return None, ()
    try:
        return purge_queues([queue.name for queue in workers.queues]), ()
    except BackupError as error:
        return None, (str(error),)


def _listed(names: tuple[str, ...]) -> str:
    verb = "answers" if len(names) == 1 else "answer"
    return f"{count_in_words(len(names), 'worker')} {verb} ({', '.join(names)})"
