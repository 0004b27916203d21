"""The packs that lists describe, in columns, because a storage may have hundreds of thousands of packs."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, TypeAlias, overload

from igny8_backup.formats import records
from igny8_backup.formats.lists import PackList
from igny8_backup.formats.objects import ListReference, StoredObject
from igny8_backup.formats.record_types import shared_texts

DIGITS = 64
"""The number of hexadecimal digits of a SHA-256."""
_DIGEST = 32
"""The number of bytes of a SHA-256."""


class PackGroup:
    """Packs in the list ``found``, in columns sorted by number. Their keys differ in the number only.

    The key of a pack consists of ``start``, its number with at least four digits, and ``suffix``. The other
    arguments have a value for each pack: those of :class:`ListedObject`.
    """

    __slots__ = ("_codecs", "_in_blocks", "_numbers", "_raw", "_sha256", "_sizes", "found", "start", "suffix")

    def __init__(
        self,
        found: ListReference,
        start: str,
        suffix: str,
        numbers: Sequence[int],
        stored_bytes: Sequence[int],
        raw_bytes: Sequence[int],
        sha256: Sequence[str],
        codecs: Sequence[Sequence[str]],
        blocks: Sequence[str],
    ) -> None:
        self.found, self.start, self.suffix = found, start, suffix
        self._numbers = _column(numbers)
        self._sizes, self._raw = _column(stored_bytes), _column(raw_bytes)
        self._sha256, self._in_blocks = bytes.fromhex("".join(sha256)), bytes(map(bool, blocks))
        steps = tuple(map(shared_texts, map(tuple, codecs)))
        self._codecs = steps[:1] if len(set(steps)) == 1 else steps  # most runs encode all packs alike

    def __len__(self) -> int:
        return len(self._numbers)

    def keys(self) -> list[str]:
        """Return the keys of all packs."""
        return [self._key(number) for number in self._numbers]

    def sizes(self) -> list[int]:
        """Return the stored bytes of all packs, in the order of :meth:`keys`."""
        return self._sizes.tolist()

    def rows(self, first: int, last: int) -> range:
        """Return the positions of the packs with the numbers from ``first`` to ``last``.

        Raises ``KeyError`` with the key of the first pack that is not in the list.
        """
        begin = bisect_left(self._numbers, first)
        found = self._numbers[begin : begin + last - first + 1]
        if len(found) == last - first + 1 and found[-1] == last:  # the numbers are sorted, each is there once
            return range(begin, begin + len(found))
        known = set(found)
        raise KeyError(self._key(next(number for number in range(first, last + 1) if number not in known)))

    def packs(self, rows: Iterable[int]) -> Iterator[StoredObject]:
        """Yield the packs at the positions ``rows``."""
        for row in rows:
            yield StoredObject(
                key=self._key(self._numbers[row]),
                stored_bytes=self._sizes[row],
                raw_bytes=self._raw[row],
                sha256=self._sha256[_DIGEST * row : _DIGEST * (row + 1)].hex(),
                codecs=self._codecs[row] if len(self._codecs) > 1 else self._codecs[0],
                named_in=self.found,
                blocks_in=self.found if self._in_blocks[row] else None,
            )

    def sized(self, rows: range) -> Iterator[tuple[str, int]]:
        """Yield the key and the stored bytes of each pack at the positions ``rows``."""
        numbers = self._numbers[rows.start : rows.stop]
        return zip(map(self._key, numbers), self._sizes[rows.start : rows.stop], strict=True)

    def _key(self, number: int) -> str:
        return f"{self.start}{number:04d}{self.suffix}"


def _column(values: Sequence[int]) -> array[int]:
    """Return ``values``, which are not negative, with four bytes each if that suffices."""
    return array("I" if max(values, default=0) < 1 << 32 else "q", values)


PackGroups: TypeAlias = Mapping[tuple[str, str], PackGroup]
"""The groups of a list, by the ``start`` and the ``suffix`` of their keys."""


def select(groups: PackGroups, wanted: PackList, folder: str) -> Iterator[tuple[PackGroup, range]]:
    """Yield the packs that a part needs from a list: the groups, and the positions in each.

    ``groups`` are the contents of the list, and ``folder`` is the folder of the packs. Raises ``KeyError``
    with the key of the first pack that the list does not describe.
    """
    for run, first, last in wanted.ranges():
        start = f"{folder}{run}-"
        group = groups.get((start, wanted.suffix))
        if group is None:
            raise KeyError(f"{start}{first:04d}{wanted.suffix}")
        yield group, group.rows(first, last)


class ListedPacks(Sequence[StoredObject]):
    """The packs of a part, sorted by key, in the columns of their lists.

    It equals the tuple of the packs. ``selected`` are groups, and the positions of the packs in each. Each
    pack becomes an object only while somebody iterates, so do not read pack after pack by its position.
    """

    __slots__ = ("_length", "selected")

    def __init__(self, selected: Iterable[tuple[PackGroup, range]]) -> None:
        self.selected = tuple(selected)
        self._length = sum(len(rows) for _, rows in self.selected)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[StoredObject]:
        found = [pack for group, rows in self.selected for pack in group.packs(rows)]
        return iter(sorted(found, key=lambda pack: pack.key))

    @overload
    def __getitem__(self, index: int) -> StoredObject: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[StoredObject, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def to_plain(self) -> list[Any]:
        """Return what ``records.to_plain`` returns for the tuple of the packs."""
        return [records.to_plain(pack) for pack in self]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (tuple, ListedPacks)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def count_once(parts: Iterable[Sequence[StoredObject]]) -> tuple[int, int]:
    """Return how many different packs the ``parts`` have, and their size in storage, in bytes.

    Keys are made only of packs that two lists describe, or that are in no list.
    """
    needed: dict[PackGroup, bytearray] = {}
    sizes: dict[str, int] = {}
    for packs in parts:
        if isinstance(packs, ListedPacks):
            for group, rows in packs.selected:
                marks = needed.setdefault(group, bytearray(len(group)))
                marks[rows.start : rows.stop] = bytes([1]) * len(rows)
        else:
            sizes |= sizes_of(packs)
    starts = Counter((group.start, group.suffix) for group in needed)
    count = total = 0
    for group, marks in needed.items():
        if sizes or starts[group.start, group.suffix] > 1:
            sizes |= compress(zip(group.keys(), group.sizes(), strict=True), marks)
        else:
            count += marks.count(1)
            total += sum(compress(group.sizes(), marks))
    return count + len(sizes), total + sum(sizes.values())


def sizes_of(packs: Sequence[StoredObject]) -> list[tuple[str, int]]:
    """Return the keys of ``packs`` and their sizes in storage, in bytes, in the same order."""
    if isinstance(packs, ListedPacks):
        return sorted(item for group, rows in packs.selected for item in group.sized(rows))
    return [(pack.key, pack.stored_bytes) for pack in packs]
