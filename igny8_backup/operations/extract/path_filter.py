"""Choose files of a tree by patterns, together with the folders that contain them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from igny8_backup.trees.model.records import Record

Pattern = tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The files, folders and links of a tree that match ``patterns``; all of them if there are no patterns.

    ``files`` and ``size`` are the number and the size in bytes of the chosen files. ``packs`` are the names
    of the tar archives that contain the chosen files. ``also`` are the paths of files that match no pattern,
    but that a chosen hard link refers to. ``found``: at least one path matches.
    """

    patterns: tuple[Pattern, ...] = ()
    also: frozenset[bytes] = frozenset()
    files: int = 0
    size: int = 0
    packs: frozenset[str] = frozenset()
    found: bool = True

    def matches(self, path: bytes) -> bool:
        """Return whether ``path`` is chosen: by its own name, or because a folder above it is chosen."""
        if path in self.also or not self.patterns:
            return True
        parts = tuple(path.split(b"/"))
        return any(_matches(parts, pattern) for pattern in self.patterns)


def parse_pattern(text: str) -> Pattern:
    """Parse a pattern such as ``sites/*/logo.png``.

    ``*``, ``?`` and ``[...]`` match within one name; ``**`` matches any number of folders.
    """
    return tuple(part for part in os.fsencode(text).split(b"/") if part not in (b"", b"."))


def choose(patterns: Sequence[Pattern], records: Iterable[Record]) -> Chosen:
    """Choose the records of an index (file list) that match ``patterns``.

    The totals of the result do not include the files in ``also`` (targets of hard links). To add these files,
    call :func:`with_link_targets`.
    """
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
    """Return a copy of ``chosen`` whose totals and packs include the targets of chosen hard links.

    ``chosen.also`` has the paths of these targets. ``records`` are all records of the index (file list).
    """
    targets = [record for record in records if record.path in chosen.also]
    return replace(
        chosen,
        files=chosen.files + len(targets),
        size=chosen.size + sum(record.size for record in targets),
        packs=chosen.packs | {record.pack for record in targets},
    )


def select(chosen: Chosen, records: Iterable[Record]) -> Iterator[Record]:
    """Yield the chosen records of the index (file list), in the order of the index.

    Before a chosen file, folder or link, all folders above it are yielded, even those that are not chosen.
    """
    # The folders that contain the current record, and whether each was yielded.
    above: list[tuple[Record, bool]] = []
    for record in records:
        while above and not record.path.startswith(above[-1][0].path + b"/"):
            above.pop()
        matches = bool(record.path) and chosen.matches(record.path)
        if matches:
            yield from (folder for folder, yielded in above if not yielded)
            above = [(folder, True) for folder, _ in above]
            yield record
        if record.kind == "dir" and record.path:
            above.append((record, matches))


def _matches(parts: Pattern, pattern: Pattern) -> bool:
    if not pattern:
        return True  # everything in a chosen folder is chosen
    if not parts:
        return False
    if pattern[0] == b"**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
