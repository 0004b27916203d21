"""An in-memory Redis server inside the sandbox process, which speaks the Redis serialization protocol.

:func:`connect` returns a socket; a thread serves its other end. The project's own client library (redis-py,
django-redis, kombu, RQ) works over it unchanged; nothing reaches the project's real server. The data of each
server address is separate. Source: Redis documentation, "Redis serialization protocol specification".
"""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from typing import Any, BinaryIO

from igny8_backup.operations.sandbox.redis import scripts as redis_scripts
from igny8_backup.operations.sandbox.redis.collections import COLLECTIONS
from igny8_backup.operations.sandbox.redis.keyspace import CommandError, Keyspace, Words
from igny8_backup.operations.sandbox.redis.sorted_sets import SORTED_SETS, Pairs
from igny8_backup.operations.sandbox.redis.strings import STRINGS

VERSION = "7.4.0"
_COMMANDS = STRINGS | COLLECTIONS | SORTED_SETS
_BLOCKING = {b"BLPOP": b"LPOP", b"BRPOP": b"RPOP", b"BZPOPMIN": b"ZPOPMIN", b"BZPOPMAX": b"ZPOPMAX"}
_MOVING = {b"BRPOPLPUSH": b"RPOPLPUSH", b"BLMOVE": b"LMOVE"}
_SUBSCRIPTIONS = {
    b"SUBSCRIBE",
    b"PSUBSCRIBE",
    b"SSUBSCRIBE",
    b"UNSUBSCRIBE",
    b"PUNSUBSCRIBE",
    b"SUNSUBSCRIBE",
}
_OK = {b"AUTH", b"FLUSHALL", b"WATCH", b"UNWATCH", b"CONFIG", b"RESET", b"QUIT", b"READONLY", b"READWRITE"}

_databases: defaultdict[tuple[str, int], Keyspace] = defaultdict(Keyspace)
# One lock for all connections: commands run one at a time. Blocking commands wait for its notifications.
_changed = threading.Condition()


def connect(address: str) -> socket.socket:
    """Return a socket that is connected to the in-memory server for ``address``.

    ``address`` is that of the real server, which the project's client wants to connect to.
    """
    client, server = socket.socketpair()
    threading.Thread(target=_Session(address, server).serve, name="igny8_backup redis", daemon=True).start()
    return client


class _Push(list[Any]):
    """A message for a subscriber, which version 3 of the protocol encodes as a push message."""


class _Session:
    """One connection of a client: its database number, its protocol version and its transaction."""

    def __init__(self, address: str, server: socket.socket) -> None:
        self._address = address
        self._socket = server
        self._number = 0
        self._protocol = 2
        self._queued: list[Words] | None = None

    def serve(self) -> None:
        """Reply to commands until the client closes the connection."""
        with self._socket, self._socket.makefile("rb") as received:
            try:
                while words := _read(received):
                    self._socket.sendall(b"".join(map(self._encode, self._replies(words))))
            except (OSError, ValueError):
                return  # closed, or not the protocol of Redis

    def _replies(self, words: Words) -> list[Any]:
        name = words[0].upper()
        if name in _SUBSCRIPTIONS:
            channels: list[Any] = [*words[1:]] or [None]
            return [_Push([name.lower(), channel, number]) for number, channel in enumerate(channels, 1)]
        if name == b"MULTI":
            self._queued = []
            return ["OK"]
        if name == b"DISCARD":
            self._queued = None
            return ["OK"]
        if name == b"EXEC":
            queued, self._queued = self._queued or [], None
            with _changed:  # no other session in between
                return [[self._run(item) for item in queued]]
        if self._queued is not None:
            self._queued.append(words)
            return ["QUEUED"]
        return [self._run(words)]

    def _run(self, words: Words) -> Any:
        name, rest = words[0].upper(), words[1:]
        keys = _databases[self._address, self._number]
        try:
            with _changed:
                if name in _BLOCKING:
                    return self._block(keys, _BLOCKING[name], rest)
                if name in _MOVING:
                    return self._wait(lambda: _COMMANDS[_MOVING[name]](keys, rest[:-1]), float(rest[-1]))
                if name in _COMMANDS:
                    reply = _COMMANDS[name](keys, rest)
                    _changed.notify_all()
                    return reply
                return self._serve(keys, name, rest)
        except CommandError as error:
            return error
        except (IndexError, ValueError):
            return CommandError(f"ERR wrong arguments for '{name.decode(errors='replace').lower()}'")

    def _block(self, keys: Keyspace, command: bytes, rest: Words) -> Any:
        def attempt() -> Any:
            for key in rest[:-1]:
                if taken := _COMMANDS[command](keys, [key]):
                    return [key, *taken] if isinstance(taken, list) else [key, taken]
            return None

        return self._wait(attempt, float(rest[-1]))

    def _wait(self, attempt: Any, seconds: float) -> Any:
        """Call ``attempt`` until it returns something; after ``seconds`` (0: no limit), return None."""
        deadline = time.monotonic() + seconds if seconds else float("inf")
        while (found := attempt()) is None and (left := deadline - time.monotonic()) > 0:
            _changed.wait(min(left, 60))
        return found

    def _serve(self, keys: Keyspace, name: bytes, rest: Words) -> Any:
        """Run a command about the connection, the server or a script; return the reply.

        ``name`` is the command, ``rest`` its arguments. Unknown commands reply nil.
        """
        if name == b"HELLO":
            self._protocol = int(rest[0]) if rest else self._protocol
            return {
                b"server": b"redis",
                b"version": VERSION.encode(),
                b"proto": self._protocol,
                b"modules": [],
            }
        if name == b"SELECT":
            self._number = int(rest[0])
        if name in (b"EVAL", b"EVALSHA"):
            reply = redis_scripts.evaluate(keys, rest, by_digest=name == b"EVALSHA", run=self._run)
            _changed.notify_all()
            return reply
        if name == b"SCRIPT":
            return redis_scripts.manage(rest)
        if name == b"FLUSHALL":
            for (address, _), each in _databases.items():
                each.clear() if address == self._address else None
        if name in _OK or name == b"SELECT":
            return "OK" if rest[:1] != [b"GET"] else {}
        answers: dict[bytes, Any] = {
            b"PING": rest[0] if rest else "PONG",
            b"ECHO": rest[0] if rest else None,
            b"PUBLISH": 0,
            b"TIME": [b"%d" % time.time(), b"0"],
            b"INFO": f"redis_version:{VERSION}\r\nredis_mode:standalone\r\nrole:master\r\n".encode(),
            b"COMMAND": [],
            b"WAIT": 0,
            b"XADD": b"%d-0" % (time.time() * 1000),
            b"XLEN": 0,
            b"CLUSTER": [[0, 16383, [b"127.0.0.1", 6379, b"sandbox"]]],
        }
        if name == b"CLIENT":
            return {b"ID": 1, b"GETNAME": None, b"LIST": b""}.get(rest[0].upper(), "OK")
        return answers.get(name)

    def _encode(self, value: Any) -> bytes:
        modern = self._protocol >= 3
        if value is None:
            return b"_\r\n" if modern else b"$-1\r\n"
        if isinstance(value, CommandError):
            return f"-{value}\r\n".encode()
        if isinstance(value, str):
            return f"+{value}\r\n".encode()
        if isinstance(value, int):
            return b":%d\r\n" % value
        if isinstance(value, float):
            text = f"{value:.17g}".encode()
            return b",%b\r\n" % text if modern else b"$%d\r\n%b\r\n" % (len(text), text)
        if isinstance(value, bytes):
            return b"$%d\r\n%b\r\n" % (len(value), value)
        pairs = value.items() if isinstance(value, dict) else value
        flat = isinstance(value, dict) or (isinstance(value, Pairs) and not modern)
        items = [part for pair in pairs for part in pair] if flat else list(value)
        head = b"%%%d" % len(value) if isinstance(value, dict) and modern else b"*%d" % len(items)
        if modern and isinstance(value, _Push):
            head = b">%d" % len(items)
        return head + b"\r\n" + b"".join(map(self._encode, items))


def _read(received: BinaryIO) -> Words:
    """Read one command of a client. Returns its words, or an empty list if the connection was closed."""
    head = received.readline()
    if not head:
        return []
    if not head.startswith(b"*"):
        return head.split() or [b"PING"]  # an inline command
    words = []
    for _ in range(int(head[1:])):
        size = int(received.readline()[1:])
        words.append(received.read(size + 2)[:-2])
    return words
