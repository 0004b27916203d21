"""Send remote control commands to Celery workers, and count and purge the tasks in queues."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

ANSWER_SECONDS = 2.0
"""How many seconds to wait for answers if the number of workers is unknown."""
REPLY_SECONDS = 10.0
"""The longest wait for the answers of named workers, in seconds. The wait ends when all have answered."""
CONNECT_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue of the broker; ``messages`` is the number of tasks that wait in it."""

    name: str
    messages: int


def broker_problem(error: Exception) -> str:
    """Return why the broker cannot be used, as the end of a sentence, without anything of its URL.

    ``error`` is what a library of Celery has raised. The messages of most errors can contain the password.
    """
    if isinstance(error, ImportError):
        return f"Celery cannot load what it needs for this broker ({error})"
    return f"the broker cannot be reached ({type(error).__name__})"


def backup_queues(app: Any, queues: Collection[str]) -> set[str]:
    """Return the queues whose tasks are backups only: ``queues``, and the one of scheduled fleet backups.

    The default queue of the app is never among them, because the tasks of the project are sent to it.
    """
    entries = [entry for entry in (app.conf.beat_schedule or {}).values() if isinstance(entry, dict)]
    found: dict[str, set[str]] = {}
    for entry in entries:
        found.setdefault(str((entry.get("options") or {}).get("queue", "")), set()).add(
            str(entry.get("task"))
        )
    scheduled = {queue for queue, tasks in found.items() if "igny8_backup.backup_fleet" in tasks}
    shared = {
        queue for queue, tasks in found.items() if not all(t.startswith("igny8_backup.") for t in tasks)
    }
    return {*queues, *scheduled} - {*shared, "", app.conf.task_default_queue}


class _EnoughAnswers(Exception):
    """No more answers of workers are needed."""


class Control:
    """A connection to the broker, used as a context manager.

    The connection is not taken from the pools of the Celery app, so that nothing stays open afterwards.
    Entering the context connects, and raises an exception of the broker's library if that fails.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def __enter__(self) -> Control:
        # Without these limits, Celery tries for ever to reach a broker that is down or does not answer.
        limits = {
            "max_retries": 1,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": CONNECT_SECONDS,
        }
        self._connection = self._app.connection_for_write(transport_options=limits)
        try:
            self._connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
            self._mailbox = self._app.control.mailbox(self._connection)
            self._mailbox.producer_pool = None
        except BaseException:
            self._connection.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.release()

    def names(self, apart_from: Collection[str] = ()) -> tuple[str, ...]:
        """Return the names of the workers that answer to a ping, sorted.

        Workers that consume no other queues than those in ``apart_from`` are left out.
        """
        if not apart_from:
            return tuple(sorted(self._replies(self._mailbox.multi_call("ping", timeout=ANSWER_SECONDS))))
        # One question, because a worker that is asked twice may have begun a task in between.
        found = self._replies(self._mailbox.multi_call("active_queues", timeout=ANSWER_SECONDS))
        consumed = {name: {queue["name"] for queue in queues or ()} for name, queues in found.items()}
        own = {name for name, queues in consumed.items() if queues and queues.issubset(apart_from)}
        return tuple(sorted(set(found) - own))

    def call(
        self, names: Collection[str], command: str, *, seconds: float = REPLY_SECONDS, **arguments: Any
    ) -> dict[str, Any]:
        """Send the remote control ``command`` to the workers ``names``; return their answers by worker name.

        Workers that do not answer within ``seconds`` are missing from the result.
        """
        return self._replies(self._mailbox.call(list(names), command, arguments, timeout=seconds))

    @property
    def reaches_all(self) -> bool:
        """Whether the broker can deliver one command to all workers."""
        return "fanout" in self._connection.transport.implements.exchange_type

    def collect(self, command: str, take: Callable[[Any], bool], *, seconds: float) -> None:
        """Send the remote control ``command`` to all workers, and give each answer to ``take`` as it arrives.

        Ends when ``take`` returns true, or when no answer has arrived for ``seconds``.
        """

        def receive(answers: dict[str, Any]) -> None:
            if any(take(answer) for answer in answers.values()):  # each message has one
                raise _EnoughAnswers

        with suppress(_EnoughAnswers):
            self._mailbox.multi_call(command, timeout=seconds, callback=receive)

    def cast(self, names: Collection[str], command: str) -> None:
        """Send the remote control ``command`` to the workers ``names`` without waiting for an answer."""
        self._mailbox.cast(list(names), command)

    def queues_of(self, names: Collection[str]) -> dict[str, set[str]]:
        """Return, for each queue, which of the workers ``names`` consume it."""
        found: dict[str, set[str]] = {}
        if names:
            for worker, queues in self.call(names, "active_queues").items():
                for queue in queues or ():
                    found.setdefault(queue["name"], set()).add(worker)
        return found

    def waiting(self, names: Collection[str]) -> tuple[Queue, ...]:
        """Return the queues of the app and of the workers ``names``, with the number of waiting tasks."""
        queues = sorted({*self._app.amqp.queues, *self.queues_of(names)})
        return tuple(Queue(name=name, messages=self._waiting_in(name)) for name in queues)

    def purge(self, queue: str) -> int:
        """Discard the tasks that wait in ``queue``; return their number."""
        with suppress(*self._connection.channel_errors), self._connection.channel() as channel:
            return int(channel.queue_purge(queue) or 0)
        return 0  # the queue does not exist

    def _waiting_in(self, queue: str) -> int:
        with suppress(*self._connection.channel_errors), self._connection.channel() as channel:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        return 0  # the queue does not exist; in Redis, an empty queue never does

    @staticmethod
    def _replies(answers: list[dict[str, Any]] | None) -> dict[str, Any]:
        return {name: answer for item in answers or () for name, answer in item.items()}
