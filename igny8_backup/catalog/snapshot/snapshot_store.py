"""A store that lists each folder once and reads each small object once."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cached_property
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from igny8_backup.catalog.snapshot import collected, listing
from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.catalog.snapshot.documents import FOLDERS, LARGEST, is_document, is_small
from igny8_backup.catalog.snapshot.listed_folder import ListedFolder
from igny8_backup.catalog.snapshot.listing import by
from igny8_backup.catalog.snapshot.read_only import ReadOnlyStore
from igny8_backup.common.memory import release_free_memory
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.keys import COLLECTED
from igny8_backup.store import Store, Stored
from igny8_backup.store.objects import missing_error
from igny8_backup.streams import Blocks
from igny8_backup.streams.stop import Stop

if TYPE_CHECKING:
    from igny8_backup.catalog.backups import Entry
    from igny8_backup.formats.documents.run_record import RunRecord

MANY = 16
"""If more documents than this are needed at a time, they are looked for in the collected documents."""
WORTH = 64 << 10
"""One request costs as much time as so many bytes of the collected documents."""


class SnapshotStore(ReadOnlyStore):
    """A read-only view of the store ``current`` at the moment when its objects were first listed.

    Listings stay as they were at that moment, and a document (such as a manifest) that was not listed then is
    missing. But ``exists``, ``size``, ``versions`` and ``locked_until`` ask the storage each time. So a
    caller that is about to delete an object, or to report its loss, can make sure with ``exists``, or use
    ``current``.

    To save memory, only documents are listed with ``tag`` and ``mtime_ns``.

    ``unlisted`` are the folders that could not be listed, with the reasons. What they hold is not known.

    ``cache`` has the documents that this host has read before. With ``use_collected``, the documents that are
    missing there are taken from the object of collected documents, if they are many. A ``SnapshotCatalog``
    keeps the backups and run records that it has parsed in ``entries`` and ``runs``.
    """

    def __init__(self, current: Store, cache: DocumentCache, *, use_collected: bool = True) -> None:
        super().__init__(current)
        self.entries: dict[str, Entry] = {}
        self.runs: dict[str, RunRecord | None] = {}
        self.unlisted: dict[str, str] = {}
        self._cache = cache
        self._ahead: dict[str, bytes] = {}
        self._uses_collected = use_collected
        self._folders_collected = 0

    def list(self, prefix: str = "", unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
        folder = f"{prefix.removesuffix('/')}/" if prefix else ""
        if folder and not folder.startswith(FOLDERS):
            yield from self.current.list(prefix)
        elif folder:
            yield from self._folder_of(folder).below(folder)
        else:
            yield from merge(*map(self._folder_of, FOLDERS), self._rest, key=attrgetter("key"))

    def list_dirs(self, prefix: str = "") -> builtins.list[str]:
        folder = f"{prefix.removesuffix('/')}/" if prefix else ""
        every = [*self.listed_keys(folder), *self.unlisted]
        names = (key[len(folder) :] for key in every if key.startswith(folder))
        return sorted({name.partition("/")[0] for name in names if "/" in name})

    def listed_keys(self, folder: str = "") -> builtins.list[str]:
        """Return the keys of all objects in ``folder``, which is empty or ends with a slash, sorted."""
        if folder in FOLDERS:
            return self._folder_of(folder).keys
        if folder:
            return [item.key for item in self.list(folder)]
        every = [self._folder_of(top).keys for top in FOLDERS]
        return sorted(chain(*every, (item.key for item in self._rest)))

    def open(self, key: str) -> Blocks:
        if not is_document(key):
            yield from self.current.open(key)
            return
        stored = self.listed(key)
        if stored is None:
            raise missing_error(self._name(key), self.describe())
        if stored.size > LARGEST or not stored.tag:
            yield from self.current.open(key)
            return
        if key not in self._ahead:
            self.prefetch([key])
        if key not in self._ahead:
            yield from self.current.open(key)  # raises the error that prevented reading it ahead
        elif content := self._ahead.pop(key):
            yield content

    def prefetch(self, keys: Iterable[str], *, signatures: bool = False) -> None:
        wanted = [item for key in keys for item in self._with_companions(key, signatures) if is_small(item)]
        self._ahead = self._cache.read(wanted)
        missing = self._missing(wanted)
        if len(missing) > MANY and self._take_collected():
            self._ahead |= self._cache.read(missing)
            missing = self._missing(missing)
        if not missing:
            return
        if self.parallel_streams and len(missing) > 1:
            stop = Stop()
            with (
                ThreadPoolExecutor(self.current.readers, thread_name_prefix="read-ahead") as pool,
                stop.on_failure(),
            ):
                contents = builtins.list(pool.map(lambda item: stop.call(self._read, item), missing))
        else:
            contents = builtins.list(map(self._read, missing))
        found = {
            item: content for item, content in zip(missing, contents, strict=True) if content is not None
        }
        self._ahead |= {item.key: content for item, content in found.items()}
        # What has another size was written after the listing: its tag is not known.
        self._cache.write(
            {item: content for item, content in found.items() if len(content) == item.size}, self
        )

    def documents(self) -> Iterator[Stored]:
        """Yield the small documents in the folders that were listed so far."""
        for folder in self._listed_folders:
            yield from filter(is_small, folder.documents())

    def known(self, items: Iterable[Stored]) -> dict[str, bytes]:
        """Return, by key, the contents of those documents that can be had without a request."""
        return self._cache.read(items)

    def listed(self, key: str) -> Stored | None:
        """Return an object as it was listed; ``None`` if it was not listed."""
        return self._folder_of(key).get(key)

    def listed_size(self, key: str) -> int | None:
        """Return the size in bytes of an object as it was listed; ``None`` if it was not listed."""
        return self._folder_of(key).size(key)

    def listed_sizes(self, keys: Sequence[str]) -> builtins.list[int | None]:
        """Return :meth:`listed_size` of each key. ``keys`` are sorted, and all are in the same folder."""
        return self._folder_of(keys[0]).sizes(keys) if keys else []

    def __contains__(self, key: object) -> bool:
        """Return whether ``key`` is the key of a listed document."""
        return isinstance(key, str) and is_document(key) and self.listed(key) is not None

    def _read(self, item: Stored) -> bytes | None:
        try:
            return self.current.read_small(item.key, LARGEST)
        except (StorageError, IntegrityError):
            return None

    def _with_companions(self, key: str, signatures: bool) -> Iterator[Stored]:
        """Yield the object ``key`` as listed, and other objects that are needed with it.

        For a manifest, these are the lists that its run has stored. With ``signatures``, they are also all
        signatures in the same folder of documents.
        """
        if stored := self.listed(key):
            yield stored
            if key.startswith(keys.BACKUPS):
                yield from self._lists.get(key.split("/")[1], ())
        if signatures:
            yield from self._signatures.get(key.rpartition("/")[0], ())

    def _missing(self, wanted: Iterable[Stored]) -> builtins.list[Stored]:
        return [item for item in dict.fromkeys(wanted) if item.key not in self._ahead]

    def _take_collected(self) -> bool:
        """Add documents to the cache from the object of collected documents; return whether any were added.

        The object is read once for the folders that are listed before the backups, and once for the backups:
        run records must be read before the backups are listed.
        """
        item, folders = self.listed(COLLECTED), self._listed_folders
        if not self._uses_collected or item is None or len(folders) == self._folders_collected:
            return False
        self._folders_collected = len(folders)
        known, added = self._cache.keys(), False
        wanted = {found.key: found for found in self.documents() if found.md5 and found.key not in known}
        if item.size > min(WORTH * len(wanted), collected.LARGEST_OBJECT):
            return False
        with (
            suppress(StorageError, IntegrityError),
            closing(collected.counting(self.current.open(COLLECTED), wanted)) as found,
        ):
            for contents in found:
                if not self._cache.write(contents):
                    break
                added = True
        return added

    @property
    def _listed_folders(self) -> builtins.list[ListedFolder]:
        found = [*self._first.values()]
        return [*found, self._backups] if "_backups" in vars(self) else found

    def _folder_of(self, key: str) -> ListedFolder:
        top = f"{key.partition('/')[0]}/"
        return self._backups if top == keys.BACKUPS else self._first[top]

    @cached_property
    def _first(self) -> dict[str, ListedFolder]:
        """The objects in all folders except the folder of the backups, by folder."""
        found: dict[str, builtins.list[Stored]] = {folder: [] for folder in FOLDERS}
        listed = listing.list_packs_and_checks(self.current, self.unlisted)
        listed += self.current.list(keys.RUNS, self.unlisted)
        while listed:
            item = listed.pop()
            found[f"{item.key.partition('/')[0]}/"].append(item)
        return {folder: ListedFolder(items, is_document) for folder, items in found.items()}

    @cached_property
    def _backups(self) -> ListedFolder:
        """The objects in the folder of the backups. It is listed after the run records."""
        found = {item.key: item for item in self._first[keys.BACKUPS]}
        listed = listing.list_backups(self.current, self._first[keys.RUNS], self.unlisted)
        found |= {item.key: item for item in listed}
        release_free_memory()  # that of the pages of the listings
        return ListedFolder(found.values(), is_document)

    @cached_property
    def _rest(self) -> builtins.list[Stored]:
        return sorted(listing.list_rest(self.current, self.unlisted), key=attrgetter("key"))

    @cached_property
    def _lists(self) -> Mapping[str, builtins.list[Stored]]:
        """The lists of packs that each backup wrote, by the id of the backup."""
        return by(lambda key: key.endswith(".json") and keys.writer(key), self._first[keys.PACKS].documents())

    @cached_property
    def _signatures(self) -> Mapping[str, builtins.list[Stored]]:
        """The signatures, by the folder of the documents that they sign."""
        folders = (self._backups, self._first[keys.CHECKS], self._first[keys.REMOVED])
        listed = (item for folder in folders for item in folder.documents())
        return by(lambda key: key.endswith(".sig") and key.rpartition("/signatures/")[0], listed)
