"""Find and stop the project's Celery workers, and purge their queues.

Celery is optional. If it is installed and its broker is down, the workers are unknown: they may still run
tasks that they received before. Workers answer over the broker (Celery documentation,
"Workers Guide", remote control). Beat does not answer, because it only sends tasks.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from igny8_backup.celery.control import (
    ANSWER_SECONDS,
    REPLY_SECONDS,
    Control,
    Queue,
    backup_queues,
    broker_problem,
)
from igny8_backup.common.outside import is_from_outside
from igny8_backup.errors import BackupError, RefusedError

_PAUSE = 0.2  # seconds between two questions to the workers
_EXIT_SECONDS = 30.0  # for idle workers to exit after the shutdown command


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers that were found running, and the queues of the project with their waiting tasks.

    ``broker`` is the URL of the broker without its password. ``unasked`` says why no Celery worker could be
    asked; it is empty if the workers were asked. ``doubt`` says why workers may be running that are not in
    ``names``; it is empty if there is no such reason. ``unreachable`` is true if the broker cannot be asked:
    if it is down, its workers get no new tasks. ``others`` are those of ``names`` that are not Celery
    workers: the function in the setting ``WORKERS`` has reported them.
    """

    broker: str = ""
    unasked: str = ""
    names: tuple[str, ...] = ()
    queues: tuple[Queue, ...] = ()
    doubt: str = ""
    unreachable: bool = False
    others: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        """The number of tasks that wait in the queues."""
        return sum(queue.messages for queue in self.queues)


def ask_workers(apart_from: Collection[str] = ()) -> Workers:
    """List the workers of the project's Celery app. The result, not an exception, describes a failure.

    Workers that consume only queues in ``apart_from``, or the queue of scheduled fleet backups, are left out:
    they make backups and restores, and do not use the application.
    """
    broker = ""
    try:
        app, unasked = find_app()
        if app is None:
            return Workers(unasked=unasked)
        with app.connection_for_write() as connection:
            broker = connection.as_uri()
            if not connection.password:  # then Celery shows one all the same
                broker = broker.replace("://:**@", "://").replace(":**@", "@")
            if "fanout" not in connection.transport.implements.exchange_type:
                unasked = f"the broker ({connection.transport_cls}) has no remote control"
                doubt = f"Celery workers cannot be asked whether they are running: {unasked}"
                return Workers(broker=broker, unasked=unasked, doubt=doubt)
        with Control(app) as control:
            names = control.names(backup_queues(app, apart_from))
            return Workers(broker=broker, names=names, queues=control.waiting(names))
    except Exception as error:  # the libraries of brokers raise exceptions of any class
        if is_from_outside(error):
            raise
        return Workers(broker=broker, unasked=broker_problem(error), unreachable=True)


def stop_workers(*, seconds: float, apart_from: Collection[str] = ()) -> tuple[str, ...]:
    """Stop every worker that answers, but not those that ``ask_workers`` leaves out; return their names.

    The workers accept no new tasks, finish their current tasks, and exit. All together they have ``seconds``
    to finish. If tasks still run after that time, the workers accept tasks again, and :class:`RefusedError`
    is raised. Also raises :class:`RefusedError` if a worker does not exit, and :class:`BackupError` if the
    broker stops answering.
    """
    deadline = time.monotonic() + seconds
    try:
        app, _ = find_app()
        if app is None:
            return ()
        with Control(app) as control:
            names = control.names(backup_queues(app, apart_from))
            if names:
                _stop(control, names, deadline)
            return names
    except BackupError:
        raise
    except Exception as error:  # the libraries of brokers raise exceptions of any class
        if is_from_outside(error):
            raise
        raise BackupError(
            f"The workers could not be stopped: {broker_problem(error)}.",
            unchanged="Nothing was restored.",
            hint="Stop the workers by hand, then run the command again with --ignore-workers.",
        ) from None


def purge_queues(names: Collection[str] = ()) -> int:
    """Discard all tasks that wait in the queues of the app and in the queues ``names``; return their number.

    Raises :class:`BackupError` if there is no app or the broker does not answer.
    """
    hint = "Before the workers start, run: celery -A PROJECT purge."
    try:
        app, unasked = find_app()
        if app is not None:
            with Control(app) as control:
                return sum(control.purge(name) for name in sorted({*app.amqp.queues, *names}))
    except Exception as error:  # the libraries of brokers raise exceptions of any class
        if is_from_outside(error):
            raise
        raise BackupError(
            f"The queues could not be purged: {broker_problem(error)}.",
            unchanged="Some tasks may still wait in the queues.",
            hint=hint,
        ) from None
    raise BackupError(
        f"No queue was purged: {unasked}.", unchanged="The waiting tasks were not discarded.", hint=hint
    )


def scheduled_tasks() -> list[str] | None:
    """Return the names of the tasks in the project's beat schedule, without contacting the broker.

    Returns ``None`` if there is no Celery app, or if the app cannot be configured.
    """
    try:
        app, _ = _project_app()
        if app is None:
            return None
        app.finalize(auto=True)  # signal handlers of the project may add entries
        entries = (app.conf.beat_schedule or {}).values()
        return [str(entry["task"] if isinstance(entry, dict) else entry.task) for entry in entries]
    except Exception as error:  # code of the project runs here
        if is_from_outside(error):
            raise
        return None


def _project_app() -> tuple[Any, str]:
    """Return the project's Celery app, or ``None`` and the reason why there is none."""
    if find_spec("celery") is None:
        return None, "Celery is not installed"
    from celery import current_app

    app: Any = current_app
    # If the project has no app, Celery creates a default app, whose broker is meaningless.
    if app.main == "default" and not app.set_as_current:
        return None, "the project has no Celery app"
    return app, ""


def find_app() -> tuple[Any, str]:
    """Return the project's Celery app, or ``None`` and the reason why no worker can be asked.

    Raises exceptions of any class if Celery cannot load the transport of the broker.
    """
    app, unasked = _project_app()
    if app is None:
        return None, unasked
    with app.connection_for_write() as connection:  # does not connect yet
        if connection.transport_cls == "memory":
            return None, "the broker is in memory, so no worker outside this process can use it"
    return app, ""


def _stop(control: Control, names: tuple[str, ...], deadline: float) -> None:
    with _consuming_nothing(control, names):
        while busy := _busy(control, names):
            if time.monotonic() > deadline:
                raise RefusedError(
                    f"Tasks are still running: {', '.join(busy)}.",
                    unchanged="Nothing was restored, and the workers accept tasks again.",
                    hint="Run the command again when the tasks have ended, or with a longer --stop-timeout.",
                )
            time.sleep(_PAUSE)
        control.cast(names, "shutdown")
    deadline = max(deadline, time.monotonic() + _EXIT_SECONDS)
    while staying := control.call(names, "ping", seconds=ANSWER_SECONDS):
        if time.monotonic() > deadline:
            raise RefusedError(
                f"Workers were asked to stop and still answer: {', '.join(sorted(staying))}.",
                unchanged="Nothing was restored.",
                hint="Stop the service that restarts them, for example: docker compose stop worker.",
            )
        time.sleep(_PAUSE)


@contextmanager
def _consuming_nothing(control: Control, names: tuple[str, ...]) -> Iterator[None]:
    """Keep the workers from taking new tasks. If the block raises, let them take tasks again."""
    queues = control.queues_of(names)
    try:
        _change_consumers(control, queues, "cancel_consumer")
        yield
    except BaseException as error:
        deaf = _change_consumers(control, queues, "add_consumer")
        if deaf and isinstance(error, RefusedError):
            raise RefusedError(
                error.what,
                unchanged="Nothing was restored.",
                hint=f"Restart these workers, which still accept no tasks: {', '.join(sorted(deaf))}.",
            ) from None
        raise


def _change_consumers(control: Control, queues: Mapping[str, Collection[str]], command: str) -> set[str]:
    """Send ``command`` for each queue to its workers; return the workers in which it has no effect.

    ``command`` is ``cancel_consumer`` or ``add_consumer``. A worker answers before it carries out a command,
    and may carry out two of them in the wrong order, so this function waits until the command has taken
    effect.
    """
    for queue, workers in queues.items():
        control.call(workers, command, queue=queue)
    names = {name for workers in queues.values() for name in workers}
    deadline = time.monotonic() + REPLY_SECONDS
    while True:
        now = control.queues_of(names)
        unchanged = {
            name
            for queue, workers in queues.items()
            for name in workers
            if (name in now.get(queue, ())) != (command == "add_consumer")
        }
        if not unchanged or time.monotonic() > deadline:
            return unchanged
        time.sleep(_PAUSE)


def _busy(control: Control, names: tuple[str, ...]) -> list[str]:
    """Return a text such as ``billing.charge on worker1`` for each task that a worker has begun or fetched.

    A worker that does not answer counts as busy.
    """
    found = []
    for command in ("active", "reserved"):
        answers = control.call(names, command)
        for name in names:
            tasks = answers.get(name)
            found += [f"one that prevents {name} from answering"] if tasks is None else []
            found += [f"{task['name']} on {name}" for task in tasks or ()]
    return list(dict.fromkeys(found))
