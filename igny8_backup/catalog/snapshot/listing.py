"""List a storage once, several folders at the same time if the storage permits that.

The order matters: packs are listed first, then run records, then backups. So packs of a run that begins after
the packs were listed are not in the result. And if a run had ended before its record was listed, the manifest
that it wrote is in the result.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

from igny8_backup.catalog.snapshot.documents import FOLDERS, is_document
from igny8_backup.formats import keys
from igny8_backup.store import Store, Stored
from igny8_backup.store.objects import is_key
from igny8_backup.streams.stop import Stop

A = TypeVar("A")
T = TypeVar("T")

SIDE_BY_SIDE = 16
_PAGES_EACH = 2
"""The number of pages that a range should have at least: each range may cost one request more. There are at
most ``SIDE_BY_SIDE`` ranges besides one for each folder, since no more of them are listed at a time."""
_HOSTS_LIMIT = 8
"""With more hosts, the folder of each host is listed as a whole, to save one or more requests per tree."""


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
        return list(map(_slim, store.list(folder, unlisted)))

    found = _side_by_side(listed, folders) if store.parallel_lists else map(listed, folders)
    return [item for items in found for item in items]


def list_spread(store: Store, folders: Mapping[str, Sequence[str]], unlisted: dict[str, str]) -> list[Stored]:
    """Return all objects in ``folders``. A large folder is listed in several ranges at the same time.

    Each folder is mapped to names at which the keys of objects in it begin, sorted and spread about evenly
    over all objects. It may be mapped to nothing. The store must have ``list_page``. Raises ``StorageError``.
    """
    pages = _side_by_side(lambda folder: _page(store, folder, ""), folders)
    rests = [
        _Rest(folder, names, page[1])
        for (folder, names), page in zip(folders.items(), pages, strict=True)
        if page and page[1]
    ]
    in_all = sum(rest.pages for rest in rests)
    ranges = [(rest.folder, *bounds) for rest in rests for bounds in pairwise(rest.bounds(in_all))]
    rest = _side_by_side(lambda one: _between(store, *one), ranges)
    found = [(folder, page and page[0]) for folder, page in zip(folders, pages, strict=True)]
    found += [(folder, objects) for (folder, *_), objects in zip(ranges, rest, strict=True)]
    unordered = {folder for folder, objects in found if objects is None}
    objects = [item for folder, some in found if some and folder not in unordered for item in some]
    return objects + list_folders(store, sorted(unordered), unlisted)


class _Rest:
    """The rest of a ``folder`` after its first page, of which ``last`` is the last key.

    The ``names`` in the first page say how many ``pages`` may follow.
    """

    def __init__(self, folder: str, names: Sequence[str], last: str) -> None:
        self.folder, self._last = folder, last
        done = bisect_left(names, last.removeprefix(folder))
        self._names = names[done:]
        self.pages = len(self._names) // max(done, 1)

    def bounds(self, in_all: int) -> list[str]:
        """Return the keys that divide the rest into ranges; an empty text is the end of the folder.

        ``in_all`` is the number of ``pages`` of all folders that are listed at the same time.
        """
        left = self._names
        count = max(1, min(SIDE_BY_SIDE * self.pages // max(in_all, 1), self.pages // _PAGES_EACH))
        inner = (f"{self.folder}{left[len(left) * number // count]}" for number in range(1, count))
        return [self._last, *inner, ""]


def _between(store: Store, folder: str, after: str, until: str) -> list[Stored] | None:
    """Return the objects with keys greater than ``after``, up to ``until``; up to the end if it is empty.

    Returns ``None`` if the server does not list keys in order.
    """
    found: list[Stored] = []
    while page := _page(store, folder, after):
        objects, after = page
        found += objects
        if not after or (until and after >= until):
            return [item for item in found if not until or item.key <= until]
    return None


def _page(store: Store, folder: str, after: str) -> tuple[list[Stored], str] | None:
    """Return what the ``list_page`` of ``store`` returns."""
    page = store.list_page(folder, after)
    return page and (list(map(_slim, page[0])), page[1])


def _slim(item: Stored) -> Stored:
    """Return ``item`` without its tag, unless it is a document: there may be very many packs."""
    return item if is_document(item.key) else Stored(item.key, item.size, item.modified)


def _side_by_side(call: Callable[[A], T], items: Iterable[A]) -> list[T]:
    stop = Stop()
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="listing") as pool, stop.on_failure():
        return list(pool.map(lambda item: stop.call(call, item), items))


def _writers(written: Iterable[Stored]) -> list[str]:
    """Return the sorted ids of the runs that wrote the objects ``written``."""
    return sorted({found for item in written if (found := keys.writer(item.key))})


def _is_folder(name: str) -> bool:
    """Return whether a store can list the folder ``name``, which another program may have created."""
    return is_key(name.removesuffix("/"))
