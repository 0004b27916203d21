"""The commands of the in-memory Redis on sorted sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from igny8_backup.operations.sandbox.redis.collections import Command, SortedSet, range_slice, remove_members
from igny8_backup.operations.sandbox.redis.keyspace import Keyspace, Words, options


class Pairs(list[tuple[bytes, float]]):
    """Members with their scores. Version 3 of the protocol sends each pair as an array of two."""


def _ranked(keys: Keyspace, key: bytes) -> list[tuple[bytes, float]]:
    found = keys.get(key, SortedSet)
    return found.ranked() if found else []


def _sorted_add(keys: Keyspace, words: Words) -> Any:
    flags = {b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"}
    first = next(place for place, word in enumerate(words[1:], 1) if word.upper() not in flags)
    given = {word.upper() for word in words[1:first]}
    stored = keys.make(words[0], SortedSet)
    added = changed = 0
    for score, member in zip(map(float, words[first::2]), words[first + 1 :: 2], strict=False):
        old = stored.get(member)
        if (b"NX" in given and old is not None) or (b"XX" in given and old is None):
            continue
        stored[member] = score + (old or 0) if b"INCR" in given else score
        added, changed = added + (old is None), changed + (old != stored[member])
    keys.drop_empty(words[0])
    return changed if b"CH" in given else added


def _sorted_increase(keys: Keyspace, words: Words) -> float:
    stored = keys.make(words[0], SortedSet)
    stored[words[2]] = stored.get(words[2], 0.0) + float(words[1])
    return float(stored[words[2]])


def _scores(low: bytes, high: bytes) -> Callable[[float], bool]:
    """Return a function that tests whether a score lies between ``low`` and ``high``.

    A limit that begins with a bracket, such as ``(1``, is not included.
    """
    least, most = (float(word.removeprefix(b"(")) for word in (low, high))

    def holds(score: float) -> bool:
        return (least < score if low.startswith(b"(") else least <= score) and (
            score < most if high.startswith(b"(") else score <= most
        )

    return holds


def _with_scores(found: list[tuple[bytes, float]], words: Words) -> list[Any]:
    if b"WITHSCORES" not in {word.upper() for word in words}:
        return [member for member, _ in found]
    return Pairs(found)


def _sorted_range(*, by_score: bool, reverse: bool) -> Command:
    def command(keys: Keyspace, words: Words) -> list[Any]:
        found = _ranked(keys, words[0])
        given = dict(options(words[3:]))
        if by_score or b"BYSCORE" in given:
            low, high = (words[2], words[1]) if reverse else (words[1], words[2])
            found = [item for item in found if _scores(low, high)(item[1])]
        found = found[::-1] if reverse or b"REV" in given else found
        if not (by_score or b"BYSCORE" in given):
            found = found[range_slice(int(words[1]), int(words[2]), len(found))]
        if b"LIMIT" in given:
            place = [word.upper() for word in words].index(b"LIMIT")
            start, count = int(words[place + 1]), int(words[place + 2])
            found = found[start : None if count < 0 else start + count]
        return _with_scores(found, words[3:])

    return command


def _sorted_remove(*, by_score: bool) -> Command:
    def command(keys: Keyspace, words: Words) -> int:
        found = _ranked(keys, words[0])
        if by_score:
            chosen = [member for member, score in found if _scores(words[1], words[2])(score)]
        else:
            chosen = [member for member, _ in found[range_slice(int(words[1]), int(words[2]), len(found))]]
        return remove_members(keys, [words[0], *chosen]) if chosen else 0

    return command


def _sorted_pop(*, least: bool) -> Command:
    def command(keys: Keyspace, words: Words) -> list[Any]:
        found = _ranked(keys, words[0])
        found = (found if least else found[::-1])[: int(words[1]) if len(words) > 1 else 1]
        remove_members(keys, [words[0], *(member for member, _ in found)])
        return Pairs(found) if len(words) > 1 else [part for pair in found for part in pair]

    return command


def _sorted_rank(keys: Keyspace, words: Words) -> int | None:
    members = [member for member, _ in _ranked(keys, words[0])]
    return members.index(words[1]) if words[1] in members else None


SORTED_SETS: dict[bytes, Command] = {
    b"ZADD": _sorted_add,
    b"ZINCRBY": _sorted_increase,
    b"ZREM": remove_members,
    b"ZCARD": lambda keys, words: len(_ranked(keys, words[0])),
    b"ZCOUNT": lambda keys, words: sum(_scores(*words[1:3])(score) for _, score in _ranked(keys, words[0])),
    b"ZSCORE": lambda keys, words: dict(_ranked(keys, words[0])).get(words[1]),
    b"ZRANK": _sorted_rank,
    b"ZRANGE": _sorted_range(by_score=False, reverse=False),
    b"ZREVRANGE": _sorted_range(by_score=False, reverse=True),
    b"ZRANGEBYSCORE": _sorted_range(by_score=True, reverse=False),
    b"ZREVRANGEBYSCORE": _sorted_range(by_score=True, reverse=True),
    b"ZREMRANGEBYSCORE": _sorted_remove(by_score=True),
    b"ZREMRANGEBYRANK": _sorted_remove(by_score=False),
    b"ZPOPMIN": _sorted_pop(least=True),
    b"ZPOPMAX": _sorted_pop(least=False),
}
