"""Decide what happens to Celery workers while live data is replaced: refuse, stop them, or ignore them."""

from __future__ import annotations

from dataclasses import dataclass

from igny8_backup.celery.workers import Workers, purge_queues, stop_workers
from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import BackupError, RefusedError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.other_workers import find_workers, fleet_queues

REFUSE, STOP, IGNORE = "refuse", "stop", "ignore"
STOP_SECONDS = 300
"""The default of ``WorkersPolicy.seconds``."""

_UNASKED = "Celery workers cannot be asked whether they are running"
_OTHERS_HINT = "Stop the workers by hand or in BEFORE_RESTORE, or give --ignore-workers instead."
_LISTED_HINT = "or let a function in IGNY8_BACKUP['WORKERS'] list the running workers."
_DOUBT_HINT = f"Make sure that they are stopped and give --ignore-workers, {_LISTED_HINT}"
_DOUBT_STOP_HINT = (
    "--stop-workers stops only workers that answer over the broker of Celery. Stop all workers by hand and"
    f" give --ignore-workers instead, {_LISTED_HINT}"
)
_HINT = "Stop the workers (docker compose stop worker beat), or give --stop-workers or --ignore-workers."


@dataclass(frozen=True, kw_only=True)
class WorkersPolicy:
    """The handling of Celery workers during a restore.

    ``mode``: ``refuse`` the restore while workers run, ``stop`` them, or ``ignore`` them. ``seconds``: the
    time that running tasks may take to finish. ``purge``: empty the queues after the restore.
    """

    mode: str = REFUSE
    seconds: float = STOP_SECONDS
    purge: bool = False


def workers_notes(workers: Workers, policy: WorkersPolicy, *, live: bool) -> list[str]:
    """Return notes for the plan: what will happen to running workers and to the tasks in the queues.

    ``live``: the restore replaces data.
    """
    notes = []
    if workers.names and policy.mode == STOP:
        notes.append(f"{_listed(workers.names)} and will be stopped. Start the workers again afterwards.")
    if (unknown := _unknown(workers)) and not _forbids(policy, live=live):
        notes.append(f"{unknown}. Make sure that they are stopped.")
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


def workers_blockers(workers: Workers, policy: WorkersPolicy, *, live: bool, hooks: bool) -> list[str]:
    """Return a blocker if workers run or cannot be asked, unless the policy is to ignore workers.

    ``live``: the restore replaces data. If it replaces nothing, as on a new server, workers that cannot be
    asked have nothing to write to. They are then no blocker, unless the policy is to stop workers.

    ``hooks``: there are ``BEFORE_RESTORE`` hooks, which can stop the workers. Running workers are then no
    blocker; :func:`ensure_workers_stopped` refuses later if they still run.
    """
    if policy.mode == IGNORE:
        return []
    doubt = _unknown(workers) if _forbids(policy, live=live) else ""
    blockers = [f"{doubt}. {_doubt_hint(policy)}"] if doubt else []
    if policy.mode == REFUSE and workers.names and not hooks:
        blockers.append(f"{_listed(workers.names)}. {_HINT}")
    if policy.mode == STOP and workers.others and not hooks:
        blockers.append(f"{_listed(workers.others)}, which --stop-workers cannot stop. {_OTHERS_HINT}")
    return blockers


def _doubt_hint(policy: WorkersPolicy) -> str:
    return _DOUBT_STOP_HINT if policy.mode == STOP else _DOUBT_HINT


def ensure_workers_stopped(
    context: BackupContext, policy: WorkersPolicy, *, live: bool = True
) -> tuple[str, ...]:
    """Ask the workers again and apply ``policy``; return the names of the workers that were stopped.

    ``live``: the restore replaces data. Otherwise workers that cannot be asked whether they run are accepted,
    unless the policy is to stop workers. Raises :class:`RefusedError` if workers run and the policy is to
    refuse, if a worker cannot be stopped or does not stop in time, or if workers cannot be asked and are not
    accepted.
    """
    if policy.mode == IGNORE:
        return ()
    found = find_workers(context.config)
    if (doubt := _unknown(found)) and _forbids(policy, live=live):
        raise RefusedError(f"{doubt}.", unchanged="Nothing live was changed.", hint=_doubt_hint(policy))
    if policy.mode == STOP:
        if found.others:
            what = f"{_listed(found.others)}, which --stop-workers cannot stop."
            raise RefusedError(what, unchanged="Nothing live was changed.", hint=_OTHERS_HINT)
        return stop_celery_workers(context, policy)
    if found.names:
        raise RefusedError(f"{_listed(found.names)}.", unchanged="Nothing live was changed.", hint=_HINT)
    return ()


def stop_celery_workers(context: BackupContext, policy: WorkersPolicy) -> tuple[str, ...]:
    """Stop the Celery workers if ``policy`` says so; return their names.

    Raises the errors of ``stop_workers``.
    """
    if policy.mode != STOP:
        return ()
    stopped = stop_workers(seconds=policy.seconds, apart_from=fleet_queues(context.config))
    if stopped:
        context.progress.note(f"Stopped these Celery workers: {', '.join(stopped)}.")
    return stopped


def purge(policy: WorkersPolicy, workers: Workers) -> tuple[int | None, tuple[str, ...]]:
    """Empty the queues if ``policy`` says so; return the number of discarded tasks, and warnings."""
    if not policy.purge:
        return None, ()
    try:
        return purge_queues([queue.name for queue in workers.queues]), ()
    except BackupError as error:
        return None, (str(error),)


def _unknown(workers: Workers) -> str:
    """Return a text that says which workers cannot be asked whether they run; empty if all were asked.

    A broker that is down does not mean that no worker runs: a worker may still run a task that it received
    before.
    """
    celery = f"{_UNASKED}: {workers.unasked}" if workers.unreachable else ""
    return "; ".join(filter(None, (celery, _first_upper(workers.doubt))))


def _forbids(policy: WorkersPolicy, *, live: bool) -> bool:
    """Return whether ``policy`` refuses a restore while nobody knows whether task workers are running.

    ``live``: the restore replaces live data.
    """
    return policy.mode == STOP or (policy.mode == REFUSE and live)


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: tuple[str, ...]) -> str:
    verb = "is running" if len(names) == 1 else "are running"
    return f"{count_in_words(len(names), 'worker')} {verb} ({', '.join(names)})"
