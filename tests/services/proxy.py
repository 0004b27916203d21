"""An HTTP proxy that breaks connections, loses answers, forges answers or refuses connections."""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE = 1 << 16
RESET = struct.pack("ii", 1, 0)
_REQUEST = re.compile(rb"([A-Z]+ \S+) HTTP/1\.1\r\n")


class CuttingProxy:
    """Forwards connections on 127.0.0.1 to a server on the port ``target``.

    It knows just enough of HTTP/1.1 without pipelining: what flows one way until something flows the other
    way is one request or one answer. ``cuts`` counts the connections it broke, ``asked`` has the method and
    the path of each request, ``received`` counts the bytes of all of them, heads included.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.cuts = 0
        self.asked: list[str] = []
        self.received = 0
        self._lock = threading.Lock()
        self._answers: list[tuple[int, bool]] = []
        self._requests: list[int] = []
        self._lost: list[bytes] = []
        self._forged: list[tuple[bytes, bytes]] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    @property
    def endpoint(self) -> str:
        """The URL to give to a client instead of the server's."""
        return f"http://127.0.0.1:{self.port}"

    def cut_answers(self, after: int, *, times: int = 1, reset: bool = False) -> None:
        """Close the next ``times`` connections ``after`` that many bytes of an answer; shorter ones pass.

        With ``reset`` it ends with an RST, else with an orderly FIN.
        """
        with self._lock:
            self._answers += [(after, reset)] * times

    def cut_requests(self, after: int, *, times: int = 1) -> None:
        """Close the next ``times`` connections ``after`` that many bytes of a request."""
        with self._lock:
            self._requests += [after] * times

    def lose_answer(self, needle: bytes) -> None:
        """Forward the next request that begins with ``needle``, and close instead of answering."""
        with self._lock:
            self._lost.append(needle)

    def forge_answer(self, needle: bytes, answer: bytes) -> None:
        """Answer the next request whose head contains ``needle`` with these bytes, without forwarding it."""
        with self._lock:
            self._forged.append((needle, answer))

    def forget(self) -> None:
        """Cancel what has not happened yet, and reset the counters."""
        with self._lock:
            self._answers.clear()
            self._requests.clear()
            self._lost.clear()
            self._forged.clear()
            self.asked.clear()
            self.cuts = self.received = 0

    def refuse(self) -> None:
        """Close all connections, and refuse new ones until ``accept``."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
            listener.close()
        for thread in self._threads:
            while thread.is_alive():
                with self._lock:
                    for connection in self._open:
                        with suppress(OSError):
                            connection.shutdown(socket.SHUT_RDWR)
                thread.join(0.05)
        self._threads.clear()

    def accept(self) -> None:
        """Accept connections, on the same port each time. Does nothing if it already does."""
        if self._listener is not None:
            return
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._listen, listener)

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def _start(self, work: Callable[[socket.socket], None], connection: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(connection,), name="proxy")
        self._threads.append(thread)
        thread.start()

    def _listen(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._start(self._serve, connection)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            with self._lock:
                self._open |= {client, server}
            with suppress(OSError):
                _Connection(self, client, server).pump()
            with self._lock:
                self._open -= {client, server}

    def _hear(self, data: bytes, *, begins: bool) -> None:
        with self._lock:
            self.received += len(data)
            if begins and (request := _REQUEST.match(data)):  # else the body, after a "100 Continue"
                self.asked.append(request[1].decode())

    def _next_answer_cut(self, size: int) -> tuple[int, bool] | None:
        with self._lock:
            if self._answers and size > self._answers[0][0]:
                self.cuts += 1
                return self._answers.pop(0)
        return None

    def _next_request_cut(self, size: int) -> int | None:
        with self._lock:
            if self._requests and size > self._requests[0]:
                self.cuts += 1
                return self._requests.pop(0)
        return None

    def _is_lost(self, head: bytes) -> bool:
        with self._lock:
            if self._lost and head.startswith(self._lost[0]):
                self._lost.pop(0)
                self.cuts += 1
                return True
        return False

    def _forgery(self, head: bytes) -> bytes | None:
        with self._lock:
            if self._forged and self._forged[0][0].lower() in head.lower():
                return self._forged.pop(0)[1]
        return None


class _Connection:
    """A connection of a client, and its connection to the server."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self.asked = 0
        self.answered = 0
        self.losing = False

    def pump(self) -> None:
        going = True
        while going:
            ready, _, _ = select.select([self.client, self.server], [], [])
            for source in ready:
                data = source.recv(PIECE)
                going = going and bool(data) and (self._ask if source is self.client else self._tell)(data)

    def _ask(self, data: bytes) -> bool:
        self.proxy._hear(data, begins=self.asked == 0)
        if self.asked == 0:
            forged = self.proxy._forgery(data)
            if forged is not None:
                self.client.sendall(forged)
                self.client.shutdown(socket.SHUT_WR)
                while self.client.recv(
                    PIECE
                ):  # closing with bytes unread would send an RST before the answer
                    pass
                return False
            self.losing = self.losing or self.proxy._is_lost(data)
        self.asked, self.answered = self.asked + len(data), 0
        cut = self.proxy._next_request_cut(self.asked)
        if cut is not None:
            return False
        self.server.sendall(data)
        return True

    def _tell(self, data: bytes) -> bool:
        if self.losing and not data.startswith(b"HTTP/1.1 100"):
            return False
        self.asked, self.answered = 0, self.answered + len(data)
        cut = self.proxy._next_answer_cut(self.answered)
        if cut is not None:
            after, reset = cut
            self.client.sendall(data[: len(data) - (self.answered - after)])
            if reset:
                self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return False
        self.client.sendall(data)
        return True


def error_answer(status: int, code: str) -> bytes:
    """Return an S3 error as an HTTP answer."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>forged</Message></Error>".encode()
    head = f"HTTP/1.1 {status} Forged\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
