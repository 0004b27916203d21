"""List a storage once, several folders at the same time if the storage permits that.

The order matters: packs are listed first, then run records, then backups. So packs of a run that begins after
the packs were listed are not in the result. And if a run had ended before its record was listed, the manifest
that it wrote is in the result.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import TypeVar

from igny8_backup.formats import keys
from igny8_backup.store import Store, Stored
from igny8_backup.store.objects import is_key

A = TypeVar("A")
T = TypeVar("T")

FOLDERS = (keys.PACKS, keys.CHECKS, keys.REMOVED, keys.RUNS, keys.BACKUPS)
"""The folders of a storage, in the order in which they are listed."""
SIDE_BY_SIDE = 8
_PAGES_EACH = 6
"""The number of pages that a range should have at least: each range may cost one request more."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_UNKNOWN = -(1 << 63)
_HOSTS_LIMIT = 8
"""With more hosts, the folder of each host is listed as a whole, to save one or more requests per tree."""


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
        self._written = {item.key: (item.tag, item.mtime_ns) for item in items if tagged(item.key)}

    def __iter__(self) -> Iterator[Stored]:
        return map(self._at, range(len(self._keys)))

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


def by(name: Callable[[str], str | bool | None], listed: Iterable[Stored]) -> Mapping[str, list[Stored]]:
    """Return the ``listed`` objects by the text that ``name`` returns for the key of each.

    Objects for which it returns no text are left out.
    """
    found: defaultdict[str, list[Stored]] = defaultdict(list)
    for item in listed:
        if text := name(item.key):
            found[str(text)].append(item)
    return found


def list_packs_and_checks(store: Store, unlisted: dict[str, str]) -> list[Stored]:
    """Return all objects in the folders of packs, checks and removals. Raises ``StorageError``.

    Subfolders that cannot be listed are added to ``unlisted``, with the reasons.
    """
    folders = [keys.CHECKS, keys.REMOVED]
    if not store.parallel_lists:
        return list_folders(store, [keys.PACKS, *folders], unlisted)
    objects, hosts = store.list_level(keys.PACKS)
    below = {f"{keys.PACKS}{host}/": list[str]() for host in hosts}
    if len(hosts) <= _HOSTS_LIMIT and all(map(_is_folder, below)):
        levels = list(zip(below, _side_by_side(store.list_level, below), strict=True))
        objects += [item for _, (found, _) in levels for item in found]
        below = {f"{host}{tree}/": _writers(found) for host, (found, trees) in levels for tree in trees}
    if not all(map(_is_folder, below)):
        return list_folders(store, [keys.PACKS, *folders], unlisted)
    return objects + list_spread(store, {**below, **dict.fromkeys(folders, ())}, unlisted)


def list_backups(store: Store, runs: Iterable[Stored], unlisted: dict[str, str]) -> list[Stored]:
    """Return all objects in the folder of the backups. Raises ``StorageError``.

    ``runs`` are the listed run records. Subfolders that cannot be listed are added to ``unlisted``, with the
    reasons.
    """
    if not store.parallel_lists:
        return list(store.list(keys.BACKUPS, unlisted))
    return list_spread(store, {keys.BACKUPS: _writers(runs)}, unlisted)


def list_rest(store: Store, unlisted: dict[str, str]) -> list[Stored]:
    """Return all objects outside ``FOLDERS`` (packs, checks, removals, runs, backups).

    These objects are at the top level of the storage or in other folders. Subfolders that cannot be listed
    are added to ``unlisted``, with the reasons. Raises ``StorageError``.
    """
    if not store.parallel_lists:
        return [item for item in store.list("", unlisted) if not item.key.startswith(FOLDERS)]
    objects, names = store.list_level("")
    others = [f"{name}/" for name in names if f"{name}/" not in FOLDERS]
    if not all(map(_is_folder, others)):
        return [item for item in store.list("", unlisted) if not item.key.startswith(FOLDERS)]
    return objects + list_folders(store, others, unlisted)


def list_folders(store: Store, folders: Iterable[str], unlisted: dict[str, str]) -> list[Stored]:
    """Return all objects in ``folders``, which are listed at the same time if the store permits that.

    Subfolders that cannot be listed are added to ``unlisted``, with the reasons. Raises ``StorageError``.
    """

    def listed(folder: str) -> list[Stored]:
        return list(store.list(folder, unlisted))

    found = _side_by_side(listed, folders) if store.parallel_lists else map(listed, folders)
    return [item for items in found for item in items]


def list_spread(store: Store, folders: Mapping[str, Sequence[str]], unlisted: dict[str, str]) -> list[Stored]:
    """Return all objects in ``folders``. A large folder is listed in several ranges at the same time.

    Each folder is mapped to names at which the keys of objects in it begin, sorted and spread about evenly
    over all objects. It may be mapped to nothing. The store must have ``list_page``. Raises ``StorageError``.
    """
    pages = _side_by_side(lambda folder: store.list_page(folder, ""), folders)
    ranges = [
        (folder, *bounds)
        for (folder, names), page in zip(folders.items(), pages, strict=True)
        for bounds in pairwise(_bounds(folder, names, page[1] if page else ""))
    ]
    rest = _side_by_side(lambda one: _between(store, *one), ranges)
    found = [(folder, page and page[0]) for folder, page in zip(folders, pages, strict=True)]
    found += [(folder, objects) for (folder, *_), objects in zip(ranges, rest, strict=True)]
    unordered = {folder for folder, objects in found if objects is None}
    objects = [item for folder, some in found if some and folder not in unordered for item in some]
    return objects + list_folders(store, sorted(unordered), unlisted)


def _bounds(folder: str, names: Sequence[str], last: str) -> list[str]:
    """Return the keys that divide the rest of a ``folder`` into ranges.

    ``last`` is the last key of its first page, and an empty text is the end of the folder. The ``names`` in
    the first page say how many pages may follow.
    """
    if not last:
        return []
    done = bisect_left(names, last.removeprefix(folder))
    left = names[done:]
    count = max(1, min(SIDE_BY_SIDE, len(left) // max(done, 1) // _PAGES_EACH))
    return [last, *(f"{folder}{left[len(left) * number // count]}" for number in range(1, count)), ""]


def _between(store: Store, folder: str, after: str, until: str) -> list[Stored] | None:
    """Return the objects with keys greater than ``after``, up to ``until``; up to the end if it is empty.

    Returns ``None`` if the server does not list keys in order.
    """
    found: list[Stored] = []
    while page := store.list_page(folder, after):
        objects, after = page
        found += objects
        if not after or (until and after >= until):
            return [item for item in found if not until or item.key <= until]
    return None


def _side_by_side(call: Callable[[A], T], items: Iterable[A]) -> list[T]:
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="listing") as pool:
        return list(pool.map(call, items))


def _writers(written: Iterable[Stored]) -> list[str]:
    """Return the sorted ids of the runs that wrote the objects ``written``."""
    return sorted({found for item in written if (found := keys.writer(item.key))})


def _is_folder(name: str) -> bool:
    """Return whether a store can list the folder ``name``, which another program may have created."""
    return is_key(name.removesuffix("/"))
