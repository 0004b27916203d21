"""The listed objects of a folder, in columns."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from igny8_backup.store import Stored

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_UNKNOWN = -(1 << 63)


class ListedFolder:
    """The ``listed`` objects of a folder, each once, sorted by key. Of two with one key, the last counts.

    They are kept in columns, because a storage may have hundreds of thousands of packs. ``tagged`` is called
    with the key of each object. If it returns false, the ``tag`` and ``mtime_ns`` of the object are not kept.
    """

    def __init__(self, listed: Iterable[Stored], tagged: Callable[[str], bool]) -> None:
        found = {item.key: item for item in listed}
        items = sorted(found.values(), key=attrgetter("key"))
        self._keys = [item.key for item in items]
        self._sizes = array("q", [item.size for item in items])
        self._modified = array("q", [_since_epoch(item.modified) for item in items])
        written = (item for item in items if (item.tag or item.mtime_ns) and tagged(item.key))
        self._written = {item.key: (item.tag, item.mtime_ns) for item in written}

    def __iter__(self) -> Iterator[Stored]:
        return map(self._at, range(len(self._keys)))

    @property
    def keys(self) -> list[str]:
        """The keys of all objects, sorted. Do not change this list."""
        return self._keys

    def get(self, key: str) -> Stored | None:
        position = self._position(key)
        return None if position is None else self._at(position)

    def size(self, key: str) -> int | None:
        """Return the size in bytes of the object ``key``; ``None`` if it was not listed."""
        position = self._position(key)
        return None if position is None else self._sizes[position]

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """Return :meth:`size` of each of the sorted ``keys``, fast if nothing was listed between them."""
        first = bisect_left(self._keys, keys[0]) if keys else 0
        if self._keys[first : first + len(keys)] == keys:
            return list(self._sizes[first : first + len(keys)])
        return [self.size(key) for key in keys]

    def documents(self) -> Iterator[Stored]:
        """Yield the objects whose tags are kept, sorted by key."""
        return filter(None, map(self.get, self._written))

    def below(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects whose keys begin with ``prefix``, without a look at all others."""
        for position in range(bisect_left(self._keys, prefix), len(self._keys)):
            if not self._keys[position].startswith(prefix):
                return
            yield self._at(position)

    def _position(self, key: str) -> int | None:
        position = bisect_left(self._keys, key)
        return position if position < len(self._keys) and self._keys[position] == key else None

    def _at(self, position: int) -> Stored:
        key, modified = self._keys[position], self._modified[position]
        tag, mtime_ns = self._written.get(key, ("", 0))
        moment = None if modified == _UNKNOWN else _EPOCH + modified * _MICROSECOND
        return Stored(key, self._sizes[position], moment, tag, mtime_ns)


def _since_epoch(moment: datetime | None) -> int:
    """Return the microseconds since 1970; ``_UNKNOWN`` for ``None``."""
    return _UNKNOWN if moment is None else (moment - _EPOCH) // _MICROSECOND
