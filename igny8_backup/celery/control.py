"""What is said to Celery's workers and queues over the broker, on a connection of our own."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

ANSWER_SECONDS = 2.0
"""How long is waited for answers where nobody knows how many will come."""
PATIENCE_SECONDS = 10.0
"""How long workers that answered once may take to do so again; when all have, nobody waits."""
CONNECT_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue of tasks and how many of them wait in it."""

    name: str
    messages: int


class Control:
    """A connection of our own to the broker: nothing stays open in the pools of the app."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __enter__(self) -> Control:
        # Without these a broker that is gone is tried for ever, and one that hangs is waited for.
        patience = {
            "max_retries": 1,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": CONNECT_SECONDS,
        }
        self._connection = self._app.connection_for_write(transport_options=patience)
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

    def names(self) -> tuple[str, ...]:
        """The workers that answer."""
        return tuple(sorted(self._replies(self._mailbox.multi_call("ping", timeout=ANSWER_SECONDS))))

    def call(
        self, names: Collection[str], command: str, *, patience: float = PATIENCE_SECONDS, **arguments: Any
    ) -> dict[str, Any]:
        """What each of these workers answers; those that do not are not in it."""
        return self._replies(self._mailbox.call(list(names), command, arguments, timeout=patience))

    def tell(self, names: Collection[str], command: str) -> None:
        """Tells each of these workers something that it does not answer."""
        self._mailbox.cast(list(names), command)

    def queues_of(self, names: Collection[str]) -> dict[str, set[str]]:
        """Queue -> the workers that take tasks from it."""
        found: dict[str, set[str]] = {}
        if names:
            for worker, queues in self.call(names, "active_queues").items():
                for queue in queues or ():
                    found.setdefault(queue["name"], set()).add(worker)
        return found

    def waiting(self, names: Collection[str]) -> tuple[Queue, ...]:
        """The queues of the app and of these workers."""
        queues = sorted({*self._app.amqp.queues, *self.queues_of(names)})
        return tuple(Queue(name=name, messages=self._waiting_in(name)) for name in queues)

    def purge(self, queue: str) -> int:
        with suppress(*self._connection.channel_errors), self._connection.channel() as channel:
            return int(channel.queue_purge(queue) or 0)
        return 0  # there is no such queue

    def _waiting_in(self, queue: str) -> int:
        with suppress(*self._connection.channel_errors), self._connection.channel() as channel:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        return 0  # there is no such queue: Redis forgets empty ones

    @staticmethod
    def _replies(answers: list[dict[str, Any]] | None) -> dict[str, Any]:
        return {name: answer for item in answers or () for name, answer in item.items()}
