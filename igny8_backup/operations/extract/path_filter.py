"""Part of a tree: what patterns choose of its index, with the folders that lead there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from igny8_backup.trees.model.records import Record

Pattern = tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What some patterns choose of a tree: all of it where there are none. ``also`` are the files that a
    chosen name is a hard link to and that no pattern chooses: they come along. ``size`` is in bytes,
    ``packs`` are the names of those that hold it all, ``found`` says whether there is anything."""

    patterns: tuple[Pattern, ...] = ()
    also: frozenset[bytes] = frozenset()
    files: int = 0
    size: int = 0
    packs: frozenset[str] = frozenset()
    found: bool = True

    def matches(self, path: bytes) -> bool:
        """Whether ``path``, or a folder that it lies in, is chosen."""
        if path in self.also or not self.patterns:
            return True
        parts = tuple(path.split(b"/"))
        return any(_matches(parts, pattern) for pattern in self.patterns)


def parse_pattern(text: str) -> Pattern:
    """``sites/*/logo.png``: names with ``*``, ``?`` and ``[...]``, and ``**`` for any number of folders."""
    return tuple(part for part in os.fsencode(text).split(b"/") if part not in (b"", b"."))


def choose(patterns: Sequence[Pattern], records: Iterable[Record]) -> Chosen:
    """What ``patterns`` choose of an index; what hard links bring along is not counted yet."""
    chosen = Chosen(patterns=tuple(patterns))
    files, size, found = 0, 0, False
    packs: set[str] = set()
    also: set[bytes] = set()
    for record in records:
        if not record.path or not chosen.matches(record.path):
            continue
        found = True
        if record.kind == "file":
            files, size = files + 1, size + record.size
            packs.add(record.pack)
        elif record.kind == "hardlink" and not chosen.matches(record.target):
            also.add(record.target)
    return replace(chosen, also=frozenset(also), files=files, size=size, packs=frozenset(packs), found=found)


def with_link_targets(chosen: Chosen, records: Iterable[Record]) -> Chosen:
    """``chosen``, with the size and the packs of the files that come along."""
    targets = [record for record in records if record.path in chosen.also]
    return replace(
        chosen,
        files=chosen.files + len(targets),
        size=chosen.size + sum(record.size for record in targets),
        packs=chosen.packs | {record.pack for record in targets},
    )


def select(chosen: Chosen, records: Iterable[Record]) -> Iterator[Record]:
    """The chosen records, each after those of the folders that it lies in, in the order of the index."""
    above: list[tuple[Record, bool]] = []  # folders on the way down, and whether they were given
    for record in records:
        while above and not record.path.startswith(above[-1][0].path + b"/"):
            above.pop()
        if record.path and chosen.matches(record.path):
            for number, (folder, given) in enumerate(above):
                if not given:
                    above[number] = (folder, True)
                    yield folder
            yield record
            given = True
        else:
            given = False
        if record.kind == "dir" and record.path:
            above.append((record, given))


def _matches(parts: Pattern, pattern: Pattern) -> bool:
    if not pattern:
        return True  # what lies in a chosen folder is chosen
    if not parts:
        return False
    if pattern[0] == b"**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
