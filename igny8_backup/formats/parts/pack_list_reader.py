"""Read lists of packs into columns, without an object for each pack."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from sys import intern
from typing import Any

from igny8_backup.formats import keys
from igny8_backup.formats.lists import BLOCK_BYTES, SCHEMA, has_sound_blocks, may_list, read_list
from igny8_backup.formats.objects import ListReference
from igny8_backup.formats.parts.listed_packs import DIGITS, PackGroup, PackGroups
from igny8_backup.formats.records import VALUES_LIMIT

_FIELDS = ("key", "stored_bytes", "raw_bytes", "sha256", "codecs", "blocks")
_HEADER = 5
"""The number of fields of a list."""
_LARGEST = 2**63 - 1
_KEY_RE = re.compile(r"(.*-)([0-9]{4}|[1-9][0-9]{4,8})(\.[^/-]*)")
"""A key that a manifest can name (``PackList.pack_keys``): the start, the number and the suffix."""
_HEX_RE = re.compile("[0-9a-fA-F]*")


def read_packs(data: bytes, found: ListReference) -> PackGroups:
    """Parse the list of packs ``data``, to which ``found`` refers, as :func:`lists.read_list` does.

    The caller must have compared the SHA-256 of ``data`` with that in the manifest. Raises the errors of
    ``read_list`` for the same lists.
    """
    groups = _plain_groups(data, found)
    if groups is None:  # malformed, or from another release
        rows = map(attrgetter(*_FIELDS), read_list(data, found.key).objects)
        groups = _groups(list(zip(*rows, strict=True)), found)
    return groups


def _plain_groups(data: bytes, found: ListReference) -> PackGroups | None:
    """Return the groups of a list that is certainly well-formed, and ``None`` if ``read_list`` must decide.

    Each column is checked as a whole.
    """
    if len(data) > VALUES_LIMIT:
        return None
    try:
        value = json.loads(data)
        rows: list[tuple[Any, ...]] = list(map(itemgetter(*_FIELDS), value["objects"]))
        # Each name has a colon. If there are no other colons, no object has the same name twice.
        names = _HEADER + len(_FIELDS) * len(rows)
        if data.count(b":") != names or len(value) + sum(map(len, value["objects"])) != names:
            return None
        columns = list(zip(*rows, strict=True))
        if _is_own_header(value, found.key) and _are_sound(columns):
            groups = _groups(columns, found)
            complete = sum(map(len, groups.values())) == len(rows)
            return groups if complete and _belong(groups, value["host"]) else None
    except (KeyError, RecursionError, TypeError, ValueError):
        pass
    return None


def _is_own_header(value: dict[str, Any], key: str) -> bool:
    parsed = keys.parse(key)
    numbers = (value["schema"], value["block_bytes"])
    return (
        parsed is not None
        and parsed.kind == "list"
        and (value["id"], value["host"]) == (parsed.backup_id, parsed.host)
        and numbers == (SCHEMA, BLOCK_BYTES)
        and set(map(type, numbers)) == {int}
    )


def _are_sound(columns: Sequence[Sequence[Any]]) -> bool:
    """Return whether the values in all columns have the right types and ranges. Raises ``TypeError``."""
    if not columns:
        return False
    named, stored, raw, sha256, codecs, blocks = columns
    return (
        {*map(type, named), *map(type, sha256), *map(type, blocks)} == {str}
        and {*map(type, stored), *map(type, raw)} == {int}
        and min(*stored, *raw) >= 0
        and max(*stored, *raw) <= _LARGEST
        and set(map(len, sha256)) == {DIGITS}
        and _HEX_RE.fullmatch("".join(sha256)) is not None
        and set(map(type, codecs)) == {list}
        and all(type(text) is str and text.isascii() for some in set(map(tuple, codecs)) for text in some)
        and len(set(named)) == len(named)
        and all(has_sound_blocks(one, size) for one, size in zip(blocks, stored, strict=True) if one)
    )


def _belong(groups: PackGroups, host: str) -> bool:
    """Return whether a list of ``host`` may name packs with such keys, which differ in the number only."""
    parsed = [keys.parse(f"{start}0001{suffix}") for start, suffix in groups]
    return all(item is not None and may_list(item, host) for item in parsed)


def _groups(columns: Sequence[Sequence[Any]], found: ListReference) -> dict[tuple[str, str], PackGroup]:
    """Return the groups of the objects whose ``_FIELDS`` are ``columns``.

    Objects that no manifest can name are left out.
    """
    grouped: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row, key in enumerate(columns[0] if columns else ()):
        if match := _KEY_RE.fullmatch(key):
            start, number, suffix = match.groups()
            grouped[start, suffix].append((int(number), row))
    groups = {}
    for (start, suffix), some in grouped.items():
        numbers, rows = zip(*sorted(some), strict=True)
        picked = ([column[row] for row in rows] for column in columns[1:])
        groups[start, suffix] = PackGroup(found, start, intern(suffix), numbers, *picked)
    return groups
