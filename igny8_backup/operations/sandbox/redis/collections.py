"""The commands of the in-memory Redis on hashes, lists and sets, and those on any collection.

A hash is stored as a ``dict``, a list as a ``list``, a set as a ``set``, and a sorted set as a
:class:`SortedSet`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

from igny8_backup.operations.sandbox.redis.keyspace import CommandError, Keyspace, Words, options

Command = Callable[[Keyspace, Words], Any]


class SortedSet(dict[bytes, float]):
    """A sorted set: maps each member to its score."""

    def ranked(self) -> list[tuple[bytes, float]]:
        return sorted(self.items(), key=lambda item: (item[1], item[0]))


def _hash(keys: Keyspace, key: bytes) -> dict[bytes, bytes]:
    found = keys.get(key, dict)
    return {} if found is None or isinstance(found, SortedSet) else found


def _list(keys: Keyspace, key: bytes) -> list[bytes]:
    return keys.get(key, list) or []


def _members(keys: Keyspace, key: bytes) -> set[bytes]:
    return keys.get(key, set) or set()


def _hash_set(keys: Keyspace, words: Words) -> int:
    stored = keys.make(words[0], dict)
    before = len(stored)
    stored.update(zip(words[1::2], words[2::2], strict=False))
    return len(stored) - before


def _hash_set_new(keys: Keyspace, words: Words) -> int:
    stored = keys.make(words[0], dict)
    return int(words[1] not in stored and stored.setdefault(words[1], words[2]) is not None)


def _hash_add(keys: Keyspace, words: Words) -> int:
    stored = keys.make(words[0], dict)
    number = int(stored.get(words[1], 0)) + int(words[2])
    stored[words[1]] = str(number).encode()
    return number


def remove_members(keys: Keyspace, words: Words) -> int:
    """Remove members of a hash, a set or a sorted set (HDEL, SREM, ZREM); reply how many were removed.

    ``words`` are the key and the members.
    """
    stored = keys.get(words[0]) or {}
    found = [word for word in dict.fromkeys(words[1:]) if word in stored]
    for word in found:
        stored.pop(word) if isinstance(stored, dict) else stored.remove(word)
    keys.drop_empty(words[0])
    return len(found)


def _push(*, left: bool, existing: bool = False) -> Command:
    def command(keys: Keyspace, words: Words) -> int:
        if existing and keys.get(words[0], list) is None:
            return 0
        stored = keys.make(words[0], list)
        for word in words[1:]:
            stored.insert(0 if left else len(stored), word)
        return len(stored)

    return command


def _pop(*, left: bool) -> Command:
    """Return a function that runs LPOP (with ``left``) or RPOP."""

    def command(keys: Keyspace, words: Words) -> Any:
        stored = _list(keys, words[0])
        if not stored:
            return None
        many = len(words) > 1
        taken = [stored.pop(0 if left else -1) for _ in range(min(int(words[1]) if many else 1, len(stored)))]
        keys.drop_empty(words[0])
        return taken if many else taken[0]

    return command


def range_slice(number: int, stop: int, size: int) -> slice:
    """Return the Python slice for a range in a Redis command, such as LRANGE.

    ``number`` is the first index and ``stop`` the last one, which is included. Negative indexes count from
    the end. ``size`` is the length of the list.
    """
    return slice(max(0, number + size if number < 0 else number), (stop + size if stop < 0 else stop) + 1)


def _list_range(keys: Keyspace, words: Words) -> list[bytes]:
    stored = _list(keys, words[0])
    return stored[range_slice(int(words[1]), int(words[2]), len(stored))]


def _list_trim(keys: Keyspace, words: Words) -> str:
    if keys.get(words[0], list) is not None:
        keys.put(words[0], _list_range(keys, words), keep_expiry=True)
    return "OK"


def _list_index(keys: Keyspace, words: Words) -> bytes | None:
    stored, number = _list(keys, words[0]), int(words[1])
    return stored[number] if -len(stored) <= number < len(stored) else None


def _list_remove(keys: Keyspace, words: Words) -> int:
    stored, limit = _list(keys, words[0]), abs(int(words[1])) or None
    places = [place for place, value in enumerate(stored) if value == words[2]]
    chosen = places[-limit:] if limit and int(words[1]) < 0 else places[:limit]
    for place in reversed(chosen):
        del stored[place]
    keys.drop_empty(words[0])
    return len(chosen)


def _move(keys: Keyspace, words: Words) -> Any:
    """Run RPOPLPUSH, or LMOVE if ``words`` also contain its two directions."""
    source, target = words[2:4] if len(words) > 3 else (b"RIGHT", b"LEFT")
    value = _pop(left=source.upper() == b"LEFT")(keys, words[:1])
    if value is not None:
        _push(left=target.upper() == b"LEFT")(keys, [words[1], value])
    return value


def _set_add(keys: Keyspace, words: Words) -> int:
    stored = keys.make(words[0], set)
    before = len(stored)
    stored.update(words[1:])
    return len(stored) - before


def _combined(combine: Callable[..., set[bytes]]) -> Command:
    return lambda keys, words: list(combine(*(_members(keys, key) for key in words)))


def _set_pop(keys: Keyspace, words: Words) -> Any:
    stored = _members(keys, words[0])
    taken = [stored.pop() for _ in range(min(int(words[1]) if len(words) > 1 else 1, len(stored)))]
    keys.drop_empty(words[0])
    if len(words) > 1:
        return taken
    return taken[0] if taken else None


def _scan(keys: Keyspace, words: Words) -> list[Any]:
    """Run HSCAN, SSCAN or ZSCAN: reply all members at once."""
    stored = keys.get(words[0]) or {}
    pattern = dict(options(words[2:], b"MATCH", b"COUNT")).get(b"MATCH", b"*")
    if not isinstance(stored, dict | set):
        raise CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")
    chosen = [one for one in stored if fnmatch.fnmatchcase(one, pattern)]
    if isinstance(stored, set):
        return [b"0", chosen]
    return [b"0", [part for one in chosen for part in (one, _as_bytes(stored[one]))]]


def _as_bytes(value: bytes | float) -> bytes:
    return value if isinstance(value, bytes) else f"{value:.17g}".encode()


def _type(keys: Keyspace, words: Words) -> str:
    names: dict[type, str] = {bytes: "string", dict: "hash", list: "list", set: "set", SortedSet: "zset"}
    return names.get(type(keys.get(words[0])), "none")


COLLECTIONS: dict[bytes, Command] = {
    b"TYPE": _type,
    b"HSET": _hash_set,
    b"HMSET": lambda keys, words: "OK" if _hash_set(keys, words) >= 0 else None,
    b"HSETNX": _hash_set_new,
    b"HGET": lambda keys, words: _hash(keys, words[0]).get(words[1]),
    b"HMGET": lambda keys, words: [_hash(keys, words[0]).get(word) for word in words[1:]],
    b"HGETALL": lambda keys, words: dict(_hash(keys, words[0])),
    b"HKEYS": lambda keys, words: list(_hash(keys, words[0])),
    b"HVALS": lambda keys, words: list(_hash(keys, words[0]).values()),
    b"HLEN": lambda keys, words: len(_hash(keys, words[0])),
    b"HEXISTS": lambda keys, words: int(words[1] in _hash(keys, words[0])),
    b"HINCRBY": _hash_add,
    b"HDEL": remove_members,
    b"HSCAN": _scan,
    b"LPUSH": _push(left=True),
    b"RPUSH": _push(left=False),
    b"LPUSHX": _push(left=True, existing=True),
    b"RPUSHX": _push(left=False, existing=True),
    b"LPOP": _pop(left=True),
    b"RPOP": _pop(left=False),
    b"LLEN": lambda keys, words: len(_list(keys, words[0])),
    b"LRANGE": _list_range,
    b"LTRIM": _list_trim,
    b"LINDEX": _list_index,
    b"LREM": _list_remove,
    b"RPOPLPUSH": _move,
    b"LMOVE": _move,
    b"SADD": _set_add,
    b"SREM": remove_members,
    b"SMEMBERS": lambda keys, words: list(_members(keys, words[0])),
    b"SISMEMBER": lambda keys, words: int(words[1] in _members(keys, words[0])),
    b"SMISMEMBER": lambda keys, words: [int(word in _members(keys, words[0])) for word in words[1:]],
    b"SCARD": lambda keys, words: len(_members(keys, words[0])),
    b"SPOP": _set_pop,
    b"SUNION": _combined(set.union),
    b"SINTER": _combined(set.intersection),
    b"SDIFF": _combined(set.difference),
    b"SSCAN": _scan,
    b"ZSCAN": _scan,
}
