"""An HTTP proxy that breaks or refuses connections, and loses, forges, withholds or drips answers."""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE = 1 << 16
RESET = struct.pack("ii", 1, 0)
_DRIP = b"byte by byte: "
_ENDLESS = b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 60_000
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
        self._lost: list[tuple[bytes, bytes]] = []
        self._forged_later: list[tuple[bytes, bytes]] = []
        self._forged: list[tuple[bytes, bytes]] = []
        self._always: list[tuple[bytes, bytes]] = []
        self._altered: list[tuple[bytes, bytes]] = []
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

    def lose_answer(self, needle: bytes, *, containing: bytes = b"") -> None:
        """Forward the next request that begins with ``needle``, and close instead of answering.

        Its head must also have ``containing``. Answers of ``forge_later`` are given after that.
        """
        with self._lock:
            self._lost.append((needle, containing))

    def forge_answer(self, needle: bytes, answer: bytes, *, times: int = 1) -> None:
        """Answer the next ``times`` requests whose heads contain ``needle``, without forwarding them."""
        with self._lock:
            self._forged += [(needle, answer)] * times

    def forge_later(self, needle: bytes, answer: bytes) -> None:
        """Forge an answer as ``forge_answer`` does, once the next answer was lost."""
        with self._lock:
            self._forged_later.append((needle, answer))

    def withhold_answer(self, needle: bytes, *, times: int = 1) -> None:
        """Leave the next requests whose heads contain ``needle`` without any answer."""
        self.forge_answer(needle, b"", times=times)

    def answer_always(self, needle: bytes, answer: bytes) -> None:
        """Answer every request whose head contains ``needle`` with these bytes, until ``forget``."""
        with self._lock:
            self._always.append((needle, answer))

    def alter_requests(self, old: bytes, new: bytes) -> None:
        """Replace ``old`` by ``new``, which is as long, in all that clients send, until ``forget``."""
        with self._lock:
            self._altered.append((old, new))

    def drip_answer(self, needle: bytes, answer: bytes = _ENDLESS, *, start: int = 0) -> None:
        """Answer the next request whose head contains ``needle`` with a byte every twentieth of a second.

        The first ``start`` bytes are sent at once.
        """
        with self._lock:
            self._forged.append((needle, b"%s%d %s" % (_DRIP, start, answer)))

    def forget(self) -> None:
        """Cancel what has not happened yet, and reset the counters."""
        with self._lock:
            self._answers.clear()
            self._requests.clear()
            self._lost.clear()
            self._forged.clear()
            self._always.clear()
            self._altered.clear()
            self._forged_later.clear()
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
            if self._lost and head.startswith(self._lost[0][0]) and self._lost[0][1] in head:
                self._lost.pop(0)
                self.cuts += 1
                self._forged += self._forged_later
                self._forged_later.clear()
                return True
        return False

    def _forgery(self, head: bytes) -> bytes | None:
        with self._lock:
            if self._forged and self._forged[0][0].lower() in head.lower():
                return self._forged.pop(0)[1]
            for needle, answer in self._always:
                if needle.lower() in head.lower():
                    return answer
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
                if forged.startswith(_DRIP):
                    self._drip(forged.removeprefix(_DRIP))
                elif forged:
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
        for old, new in self.proxy._altered:
            data = data.replace(old, new)
        self.server.sendall(data)
        return True

    def _drip(self, told: bytes) -> None:
        start, _, answer = told.partition(b" ")
        self.client.sendall(answer[: int(start)])
        for place in range(int(start), len(answer)):
            self.client.sendall(answer[place : place + 1])
            time.sleep(0.05)

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


def error_answer(status: int, code: str, **fields: str) -> bytes:
    """Return an S3 error as an HTTP answer, with further ``fields`` of the error."""
    more = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>forged</Message>{more}</Error>".encode()
    head = f"HTTP/1.1 {status} Forged\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
