"""Run the scripts of common client libraries in the in-memory Redis, which has no Lua interpreter.

This module knows the scripts for locks of redis-py and valkey-py, the script for counters of django-redis,
and scripts that consist of one command. Any other script does nothing and replies 0.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from igny8_backup.operations.sandbox.redis.keyspace import CommandError, Keyspace, Words

Run = Callable[[Words], Any]
"""A function that runs a command of Redis."""

_ONE_COMMAND = re.compile(r"returnredis\.call\(([^()]*)\)")
# django-redis: increment a counter that exists.
_INCREMENT = (
    "localexists=redis.call('EXISTS',KEYS[1])if(exists==1)then"
    "returnredis.call('INCRBY',KEYS[1],ARGV[1])elsereturnfalseend"
)
_ARGUMENT = re.compile(r"(KEYS|ARGV)\[(\d+)\]|'([^']*)'|\"([^\"]*)\"|(-?\d+)")

_sources: dict[bytes, str] = {}


def manage(words: Words) -> Any:
    """Run SCRIPT LOAD, SCRIPT EXISTS or SCRIPT FLUSH. ``words`` are the arguments of SCRIPT."""
    word = words[0].upper()
    if word == b"LOAD":
        digest = hashlib.sha1(words[1], usedforsecurity=False).hexdigest().encode()
        _sources[digest] = words[1].decode()
        return digest
    return [int(digest in _sources) for digest in words[1:]] if word == b"EXISTS" else "OK"


def evaluate(keys: Keyspace, words: Words, *, by_digest: bool, run: Run) -> Any:
    """Run EVAL or, with ``by_digest``, EVALSHA. ``words`` are its arguments.

    ``run`` runs the Redis commands in the script.
    """
    source = _sources.get(words[0].lower()) if by_digest else words[0].decode()
    if source is None:
        return CommandError("NOSCRIPT No matching script. Please use EVAL.")
    number = int(words[1])
    names, values = words[2 : 2 + number], words[2 + number :]
    if lock := _lock_scripts().get(source.strip()):
        return _change_lock(keys, lock, names[0], values)
    text = "".join(source.split())
    if text == _INCREMENT:
        return run([b"INCRBY", names[0], values[0]]) if keys.get(names[0]) is not None else None
    if command := _ONE_COMMAND.fullmatch(text):
        return run([_argument(found, names, values) for found in _ARGUMENT.finditer(command[1])])
    return 0


def _change_lock(keys: Keyspace, action: str, name: bytes, values: Words) -> int:
    """Release or extend the lock ``name`` of redis-py; reply 1, or 0 if another client holds it.

    ``action`` is ``release``, ``extend`` or ``reacquire``. ``values`` are the arguments of the script: first
    the token of the client.
    """
    if keys.get(name) != values[0]:
        return 0
    if action == "release":
        keys.delete(name)
        return 1
    seconds = float(values[1]) / 1000
    if action == "extend" and values[2] == b"0":
        seconds += max(keys.remaining(name), 0)
    keys.expire(name, time.time() + seconds)
    return 1


def _argument(found: re.Match[str], names: Words, values: Words) -> bytes:
    table, place, *literals = found.groups()
    if table:
        return (names if table == "KEYS" else values)[int(place) - 1]
    return next(text for text in literals if text is not None).encode()


def _lock_scripts() -> dict[str, str]:
    """Return the Lua scripts of redis-py and valkey-py for locks, each with its action.

    Only modules that the project has imported are examined.
    """
    found = {}
    for name in ("redis.lock", "valkey.lock", "redis.asyncio.lock", "valkey.asyncio.lock"):
        lock = getattr(sys.modules.get(name), "Lock", None)
        for action in ("release", "extend", "reacquire"):
            if source := getattr(lock, f"LUA_{action.upper()}_SCRIPT", None):
                found[source.strip()] = action
    return found
