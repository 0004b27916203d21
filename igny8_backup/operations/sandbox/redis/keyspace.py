"""The keys and values of the in-memory Redis of the sandbox.

Commands are those of the Redis documentation, "Commands". In Python, a reply of type ``bytes`` is a bulk
string, ``str`` a status and ``None`` nil; numbers, lists and dictionaries are what they are in Redis.
Commands that are not implemented reply nil, so that the caller continues as if there were no such value.
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Iterator
from typing import Any

Words = list[bytes]
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class CommandError(Exception):
    """A command failed. The message is what a Redis server replies."""


class Keyspace:
    """The keys of one database of a Redis server. Not thread-safe: the server runs one command at a time."""

    def __init__(self) -> None:
        self._values: dict[bytes, Any] = {}
        self._expiry: dict[bytes, float] = {}

    def get(self, key: bytes, kind: type[Any] | None = None) -> Any:
        """Return the value of ``key``, or None. Raises ``CommandError`` if the value is not a ``kind``."""
        if self._expiry.get(key, float("inf")) <= time.time():
            self.delete(key)
        value = self._values.get(key)
        if kind is not None and value is not None and not isinstance(value, kind):
            raise CommandError(WRONG_TYPE)
        return value

    def make(self, key: bytes, kind: Callable[[], Any]) -> Any:
        """Return the value of ``key``. If there is none, store a new value, which ``kind()`` returns."""
        found = self.get(key, kind if isinstance(kind, type) else None)
        if found is None:
            found = self._values[key] = kind()
        return found

    def put(self, key: bytes, value: Any, *, keep_expiry: bool = False) -> None:
        """Store ``value``; an empty collection removes the key.

        ``keep_expiry``: the time at which the key expires is not removed.
        """
        if not keep_expiry:
            self._expiry.pop(key, None)
        self._values[key] = value
        self.drop_empty(key)

    def drop_empty(self, key: bytes) -> None:
        """Remove ``key`` if its value is an empty collection, because Redis stores no empty collections."""
        value = self._values.get(key)
        if not isinstance(value, bytes) and not value:
            self.delete(key)

    def delete(self, key: bytes) -> bool:
        self._expiry.pop(key, None)
        return self._values.pop(key, None) is not None

    def expire(self, key: bytes, when: float) -> None:
        """Let ``key`` expire at the time ``when`` (seconds since the epoch), which may be past."""
        self._expiry[key] = when

    def remaining(self, key: bytes) -> float:
        """Return the seconds until ``key`` expires: -1 if it never does, -2 if there is no such key."""
        if self.get(key) is None:
            return -2
        return self._expiry[key] - time.time() if key in self._expiry else -1

    def persist(self, key: bytes) -> bool:
        return self.get(key) is not None and self._expiry.pop(key, None) is not None

    def keys(self, pattern: bytes = b"*") -> list[bytes]:
        """Return the keys that match a glob pattern (Redis documentation, KEYS)."""
        found = [key for key in list(self._values) if self.get(key) is not None]
        return [key for key in found if fnmatch.fnmatchcase(key, pattern)]

    def clear(self) -> None:
        self._values.clear()
        self._expiry.clear()


def options(words: Words, *with_value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each option in ``words``, in upper case, with its value or ``b""``.

    ``with_value`` names the options that take a value; the value is the next word.
    """
    rest = iter(words)
    for word in rest:
        name = word.upper()
        yield name, next(rest, b"") if name in with_value else b""
