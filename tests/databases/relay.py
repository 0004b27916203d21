"""Relay TCP connections to a server, and optionally change or cut what passes."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self


class HangUp(Exception):
    """Raised by a filter to close the connection."""


def unchanged(data: bytes) -> bytes:
    return data


class Relay:
    """Listens on ``host`` at a free ``port``; ``connections`` counts the accepted ones.

    ``from_client`` and ``from_server`` receive each piece of data and return what is sent on.
    """

    def __init__(
        self,
        host: str,
        target: tuple[str, int],
        *,
        from_client: Callable[[bytes], bytes] = unchanged,
        from_server: Callable[[bytes], bytes] = unchanged,
    ) -> None:
        self.target = target
        self.from_client = from_client
        self.from_server = from_server
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._relay, args=(client,)))
                self._threads[-1].start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server, selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, (server, self.from_client))
            ready.register(server, selectors.EVENT_READ, (client, self.from_server))
            with suppress(OSError, HangUp):
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # it was written before
                        if not data:
                            return
                        target, change = key.data
                        target.sendall(change(data))
