"""The commands of the in-memory Redis on strings, and those on keys of any kind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from igny8_backup.operations.sandbox.redis.keyspace import CommandError, Keyspace, Words, options

_SECONDS, _MILLISECONDS = 1.0, 0.001


def _set(keys: Keyspace, words: Words) -> Any:
    key, value = words[:2]
    now, previous = time.time(), keys.get(key)
    given = dict(options(words[2:], b"EX", b"PX", b"EXAT", b"PXAT"))
    old = previous if b"GET" in given else "OK"
    if (b"NX" in given and previous is not None) or (b"XX" in given and previous is None):
        return previous if b"GET" in given else None
    keys.put(key, value, keep_expiry=b"KEEPTTL" in given)
    for name, number in given.items():
        unit = _MILLISECONDS if name.startswith(b"PX") else _SECONDS
        if name in (b"EX", b"PX"):
            keys.expire(key, now + int(number) * unit)
        elif name in (b"EXAT", b"PXAT"):
            keys.expire(key, int(number) * unit)
    return old


def _set_for(unit: float) -> Callable[[Keyspace, Words], str]:
    def command(keys: Keyspace, words: Words) -> str:
        keys.put(words[0], words[2])
        keys.expire(words[0], time.time() + int(words[1]) * unit)
        return "OK"

    return command


def _expire(unit: float, *, absolute: bool) -> Callable[[Keyspace, Words], int]:
    def command(keys: Keyspace, words: Words) -> int:
        if keys.get(words[0]) is None:
            return 0
        keys.expire(words[0], int(words[1]) * unit + (0 if absolute else time.time()))
        return 1

    return command


def _remaining(unit: float) -> Callable[[Keyspace, Words], int]:
    def command(keys: Keyspace, words: Words) -> int:
        found = keys.remaining(words[0])
        return int(found) if found < 0 else round(found / unit)

    return command


def _add(sign: int) -> Callable[[Keyspace, Words], int]:
    def command(keys: Keyspace, words: Words) -> int:
        amount = int(words[1]) if len(words) > 1 else 1
        try:
            number = int(keys.get(words[0], bytes) or 0) + sign * amount
        except ValueError:
            raise CommandError("ERR value is not an integer or out of range") from None
        keys.put(words[0], str(number).encode(), keep_expiry=True)
        return number

    return command


def _add_float(keys: Keyspace, words: Words) -> bytes:
    number = float(keys.get(words[0], bytes) or 0) + float(words[1])
    keys.put(words[0], f"{number:.17g}".encode(), keep_expiry=True)
    return f"{number:.17g}".encode()


def _get_and_expire(keys: Keyspace, words: Words) -> Any:
    value = keys.get(words[0], bytes)
    if value is not None and len(words) > 1:
        _set(keys, [words[0], value, *words[1:]] if words[1].upper() != b"PERSIST" else [words[0], value])
    return value


def _replace(keys: Keyspace, words: Words) -> Any:
    found = keys.get(words[0], bytes)
    keys.put(words[0], words[1])
    return found


def _take(keys: Keyspace, words: Words) -> Any:
    found = keys.get(words[0], bytes)
    keys.delete(words[0])
    return found


def _get_many(keys: Keyspace, words: Words) -> list[bytes | None]:
    return [value if isinstance(value := keys.get(key), bytes) else None for key in words]


def _set_many(keys: Keyspace, words: Words) -> str:
    for key, value in zip(words[::2], words[1::2], strict=False):
        keys.put(key, value)
    return "OK"


def _set_many_new(keys: Keyspace, words: Words) -> int:
    if any(keys.get(key) is not None for key in words[::2]):
        return 0
    _set_many(keys, words)
    return 1


def _append(keys: Keyspace, words: Words) -> int:
    keys.put(words[0], (keys.get(words[0], bytes) or b"") + words[1], keep_expiry=True)
    return len(keys.get(words[0]))


def _rename(keys: Keyspace, words: Words) -> str:
    value = keys.get(words[0])
    if value is None:
        raise CommandError("ERR no such key")
    remaining = keys.remaining(words[0])
    keys.delete(words[0])
    keys.put(words[1], value)
    if remaining > 0:
        keys.expire(words[1], time.time() + remaining)
    return "OK"


def _scan(keys: Keyspace, words: Words) -> list[Any]:
    """Run SCAN: reply all keys at once, with the cursor 0, which means that the scan is complete."""
    given = dict(options(words[1:], b"MATCH", b"COUNT", b"TYPE"))
    return [b"0", keys.keys(given.get(b"MATCH", b"*"))]


def _clear(keys: Keyspace, words: Words) -> str:
    keys.clear()
    return "OK"


STRINGS: dict[bytes, Callable[[Keyspace, Words], Any]] = {
    b"GET": lambda keys, words: keys.get(words[0], bytes),
    b"SET": _set,
    b"SETNX": lambda keys, words: int(_set(keys, [*words[:2], b"NX"]) == "OK"),
    b"SETEX": _set_for(_SECONDS),
    b"PSETEX": _set_for(_MILLISECONDS),
    b"GETSET": _replace,
    b"GETDEL": _take,
    b"GETEX": _get_and_expire,
    b"MGET": _get_many,
    b"MSET": _set_many,
    b"MSETNX": _set_many_new,
    b"APPEND": _append,
    b"STRLEN": lambda keys, words: len(keys.get(words[0], bytes) or b""),
    b"INCR": _add(1),
    b"INCRBY": _add(1),
    b"DECR": _add(-1),
    b"DECRBY": _add(-1),
    b"INCRBYFLOAT": _add_float,
    b"DEL": lambda keys, words: sum(keys.get(key) is not None and keys.delete(key) for key in words),
    b"UNLINK": lambda keys, words: sum(keys.get(key) is not None and keys.delete(key) for key in words),
    b"EXISTS": lambda keys, words: sum(keys.get(key) is not None for key in words),
    b"TOUCH": lambda keys, words: sum(keys.get(key) is not None for key in words),
    b"EXPIRE": _expire(_SECONDS, absolute=False),
    b"PEXPIRE": _expire(_MILLISECONDS, absolute=False),
    b"EXPIREAT": _expire(_SECONDS, absolute=True),
    b"PEXPIREAT": _expire(_MILLISECONDS, absolute=True),
    b"TTL": _remaining(_SECONDS),
    b"PTTL": _remaining(_MILLISECONDS),
    b"PERSIST": lambda keys, words: int(keys.persist(words[0])),
    b"KEYS": lambda keys, words: keys.keys(words[0]),
    b"SCAN": _scan,
    b"RENAME": _rename,
    b"DBSIZE": lambda keys, words: len(keys.keys()),
    b"FLUSHDB": _clear,
}
