"""The project's Celery workers: who answers, stopping them, emptying their queues.

Celery is optional, and so is its broker on the worst day: what cannot be asked is said and stops nothing.
Workers answer over the broker (Celery docs, "Workers Guide", remote control). Beat does not answer at all: it
is no worker, it only sends tasks.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from igny8_backup.celery.control import ANSWER_SECONDS, Control, Queue
from igny8_backup.errors import BackupError, RefusedError

_PAUSE = 0.2
_LAST_SECONDS = 30.0  # for idle workers to go once they were told to


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who answered. ``broker`` is its URL without the password; ``unasked`` is why nobody could be asked,
    empty where they were."""

    broker: str = ""
    unasked: str = ""
    names: tuple[str, ...] = ()
    queues: tuple[Queue, ...] = ()

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return sum(queue.messages for queue in self.queues)


def ask_workers() -> Workers:
    """Asks the workers of the project's Celery app, if there is one, who they are. Never raises."""
    broker = ""
    try:
        app, unasked = _find_app()
        if app is None:
            return Workers(unasked=unasked)
        with app.connection_for_write() as connection:
            broker = connection.as_uri()
        with Control(app) as control:
            names = control.names()
            return Workers(broker=broker, names=names, queues=control.waiting(names))
    except Exception as error:  # a broker's library raises what it likes
        return Workers(broker=broker, unasked=f"the broker cannot be asked ({type(error).__name__})")


def stop_workers(*, seconds: float) -> tuple[str, ...]:
    """Stops every worker that answers: it takes no new task, finishes those that it has within ``seconds`` in
    all, and ends. Returns their names.

    Raises :class:`RefusedError` where tasks still run then, after letting the workers take tasks again, or
    where a worker does not go; :class:`BackupError` where the broker falls silent.
    """
    app, _ = _find_app()
    if app is None:
        return ()
    deadline = time.monotonic() + seconds
    try:
        with Control(app) as control:
            names = control.names()
            if names:
                _stop(control, names, deadline)
            return names
    except BackupError:
        raise
    except Exception as error:  # as above
        raise BackupError(
            f"The broker fell silent while workers were stopped ({type(error).__name__}).",
            unchanged="Nothing was restored.",
            hint="Stop the workers by hand and give --ignore-workers.",
        ) from None


def purge_queues(names: Collection[str] = ()) -> int:
    """Discards all tasks that wait in the queues of the app and in those called ``names``; returns how many.

    Raises :class:`BackupError` where the broker does not answer.
    """
    app, unasked = _find_app()
    if app is None:
        raise BackupError(f"No queue was purged: {unasked}.")
    try:
        with Control(app) as control:
            return sum(control.purge(name) for name in sorted({*app.amqp.queues, *names}))
    except Exception as error:  # as above
        raise BackupError(
            f"The queues could not be purged ({type(error).__name__}).",
            hint="Before the workers start: celery -A PROJECT purge.",
        ) from None


def scheduled_tasks() -> list[str] | None:
    """The tasks that the project's Celery app has beat send, wherever its configuration comes from; ``None``
    where there is no app, or it cannot be configured. No broker is asked."""
    try:
        app, _ = _project_app()
        if app is None:
            return None
        app.finalize(auto=True)  # what adds entries may wait for it
        entries = (app.conf.beat_schedule or {}).values()
        return [str(entry["task"] if isinstance(entry, dict) else entry.task) for entry in entries]
    except Exception:  # the project's own code runs in it
        return None


def _project_app() -> tuple[Any, str]:
    """The project's app; or ``None`` and why there is none."""
    if find_spec("celery") is None:
        return None, "Celery is not installed"
    from celery import current_app

    app: Any = current_app
    # Where no project has made an app, Celery makes this one up; its broker is nobody's.
    if app.main == "default" and not app.set_as_current:
        return None, "the project has no Celery app"
    return app, ""


def _find_app() -> tuple[Any, str]:
    """The project's app; or ``None`` and why there is nobody to ask."""
    app, unasked = _project_app()
    if app is None:
        return None, unasked
    with app.connection_for_write() as connection:  # not connected yet
        if connection.transport_cls == "memory":
            return None, "the broker is in memory: no worker outside this process can share it"
    return app, ""


def _stop(control: Control, names: tuple[str, ...], deadline: float) -> None:
    with _not_consuming(control, names):
        while busy := _busy(control, names):
            if time.monotonic() > deadline:
                raise RefusedError(
                    f"Tasks are still running: {', '.join(busy)}.",
                    unchanged="Nothing was restored, and the workers take tasks again.",
                    hint="Run again when they are done, or with a longer --stop-timeout.",
                )
            time.sleep(_PAUSE)
        control.tell(names, "shutdown")
    deadline = max(deadline, time.monotonic() + _LAST_SECONDS)
    while staying := control.call(names, "ping", patience=ANSWER_SECONDS):
        if time.monotonic() > deadline:
            raise RefusedError(
                f"Workers were told to stop and still answer: {', '.join(sorted(staying))}.",
                unchanged="Nothing was restored.",
                hint="What starts them again must be stopped: docker compose stop worker.",
            )
        time.sleep(_PAUSE)


@contextmanager
def _not_consuming(control: Control, names: tuple[str, ...]) -> Iterator[None]:
    """The workers take no new tasks; they take them again if something goes wrong."""
    queues = control.queues_of(names)
    try:
        for queue, workers in queues.items():
            control.call(workers, "cancel_consumer", queue=queue)
        yield
    except BaseException:
        for queue, workers in queues.items():
            control.call(workers, "add_consumer", queue=queue)
        raise


def _busy(control: Control, names: tuple[str, ...]) -> list[str]:
    """``task on worker`` of each task that a worker has begun or fetched; a worker that does not answer has
    its hands full."""
    found = []
    for command in ("active", "reserved"):
        answers = control.call(names, command)
        for name in names:
            tasks = answers.get(name)
            found += [f"one that keeps {name} from answering"] if tasks is None else []
            found += [f"{task['name']} on {name}" for task in tasks or ()]
    return list(dict.fromkeys(found))
