"""Passes TCP connections on to a server, from another address, and changes what passes if told to."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class HangUp(Exception):
    """Raised by a filter: the connection is closed instead."""


def same(data: bytes) -> bytes:
    return data


class Relay:
    """Listens on ``host`` at a free ``port``; ``connections`` counts those it took.

    ``asking`` and ``answering`` are given what clients and server say and return what is passed on.
    """

    def __init__(
        self,
        host: str,
        target: tuple[str, int],
        *,
        asking: Callable[[bytes], bytes] = same,
        answering: Callable[[bytes], bytes] = same,
    ) -> None:
        self.target = target
        self.asking = asking
        self.answering = answering
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._pass_on, args=(client,)))
                self._threads[-1].start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server, selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, (server, self.asking))
            ready.register(server, selectors.EVENT_READ, (client, self.answering))
            with suppress(OSError, HangUp):
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        target, change = key.data
                        target.sendall(change(data))
