"""A store that lists each folder once and reads each small object once."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from igny8_backup.catalog.snapshot.document_cache import DocumentCache
from igny8_backup.catalog.snapshot.listing import FOLDERS, ListedFolder, by, list_packs_and_checks, list_rest
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys
from igny8_backup.store import Store, Stored, UnfinishedUpload, Version
from igny8_backup.store.objects import Protection, missing_error
from igny8_backup.streams import Blocks

if TYPE_CHECKING:
    from igny8_backup.catalog.backups import Entry
    from igny8_backup.formats.documents.run_record import RunRecord

LARGEST = 1 << 20
"""The size in bytes of the largest document that is read ahead and kept in ``STATE_DIR``."""


class SnapshotStore(Store):
    """A read-only view of the store ``current`` at the moment when its objects were first listed.

    Listings stay as they were at that moment, and a document (such as a manifest) that was not listed then is
    missing. But ``exists``, ``size``, ``versions`` and ``locked_until`` ask the storage each time. So a
    caller that is about to delete an object, or to report its loss, can make sure with ``exists``, or use
    ``current``.

    To save memory, only documents are listed with ``tag`` and ``mtime_ns``.

    ``unlisted`` are the folders that could not be listed, with the reasons. What they hold is not known.

    ``cache`` has the documents that this host has read before. A ``SnapshotCatalog`` keeps the backups and
    run records that it has parsed in ``entries`` and ``runs``.
    """

    def __init__(self, current: Store, cache: DocumentCache) -> None:
        super().__init__(current.prefix, current.retry)
        self.current = current
        self.parallel_streams = current.parallel_streams
        self.entries: dict[str, Entry] = {}
        self.runs: dict[str, RunRecord | None] = {}
        self.unlisted: dict[str, str] = {}
        self._cache = cache
        self._ahead: dict[str, bytes] = {}
        self._hidden: dict[str, dict[str, list[Version]]] = {}

    def list(self, prefix: str = "", unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
        folder = f"{prefix.removesuffix('/')}/" if prefix else ""
        if folder and not folder.startswith(FOLDERS):
            yield from self.current.list(prefix)
        elif folder:
            yield from self._folder_of(folder).below(folder)
        else:
            every = [item for top in FOLDERS for item in self._folder_of(top)]
            yield from sorted([*every, *self._rest], key=lambda item: item.key)

    def list_dirs(self, prefix: str = "") -> builtins.list[str]:
        folder = f"{prefix.removesuffix('/')}/" if prefix else ""
        every = [*(item.key for item in self.list(prefix)), *self.unlisted]
        names = (key[len(folder) :] for key in every if key.startswith(folder))
        return sorted({name.partition("/")[0] for name in names if "/" in name})

    def open(self, key: str) -> Blocks:
        if not _is_document(key):
            yield from self.current.open(key)
            return
        stored = self._stored(key)
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
        wanted = [item for key in keys for item in self._with_companions(key, signatures) if _is_small(item)]
        self._ahead = self._cache.read(wanted)
        missing = [item for item in dict.fromkeys(wanted) if item.key not in self._ahead]
        if not missing:
            return
        if self.parallel_streams and len(missing) > 1:
            with ThreadPoolExecutor(self.current.readers, thread_name_prefix="read-ahead") as pool:
                contents = builtins.list(pool.map(self._read, missing))
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

    def listed_size(self, key: str) -> int | None:
        """Return the size in bytes of an object as it was listed; ``None`` if it was not listed."""
        return self._folder_of(key).size(key)

    def shared_key(self, key: str) -> str:
        return self._folder_of(key).shared(key)

    def __contains__(self, key: object) -> bool:
        """Return whether ``key`` is the key of a listed document."""
        return isinstance(key, str) and _is_document(key) and self._stored(key) is not None

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
        if stored := self._stored(key):
            yield stored
            if key.startswith(keys.BACKUPS):
                yield from self._lists.get(key.split("/")[1], ())
        if signatures:
            yield from self._signatures.get(key.rpartition("/")[0], ())

    def _stored(self, key: str) -> Stored | None:
        return self._folder_of(key).get(key)

    def _folder_of(self, key: str) -> ListedFolder:
        top = f"{key.partition('/')[0]}/"
        return self._backups if top == keys.BACKUPS else self._first[top]

    @cached_property
    def _first(self) -> dict[str, ListedFolder]:
        """The objects in all folders except the folder of the backups, by folder."""
        found: dict[str, builtins.list[Stored]] = {folder: [] for folder in FOLDERS}
        listed = list_packs_and_checks(self.current, self.unlisted)
        listed += self.current.list(keys.RUNS, self.unlisted)
        while listed:
            item = listed.pop()
            found[f"{item.key.partition('/')[0]}/"].append(item)
        return {folder: ListedFolder(items, _is_document) for folder, items in found.items()}

    @cached_property
    def _backups(self) -> ListedFolder:
        """The objects in the folder of the backups. It is listed after the run records."""
        found = {item.key: item for item in self._first[keys.BACKUPS]}
        found |= {item.key: item for item in self.current.list(keys.BACKUPS, self.unlisted)}
        return ListedFolder(found.values(), _is_document)

    @cached_property
    def _rest(self) -> builtins.list[Stored]:
        return list_rest(self.current, self.unlisted)

    @cached_property
    def _lists(self) -> Mapping[str, builtins.list[Stored]]:
        """The lists of packs that each backup wrote, by the id of the backup."""
        return by(lambda key: key.endswith(".json") and keys.writer(key), self._first[keys.PACKS])

    @cached_property
    def _signatures(self) -> Mapping[str, builtins.list[Stored]]:
        """The signatures, by the folder of the documents that they sign."""
        listed = chain(self._backups, self._first[keys.CHECKS], self._first[keys.REMOVED])
        return by(lambda key: key.endswith(".sig") and key.rpartition("/signatures/")[0], listed)

    def exists(self, key: str) -> bool:
        return self.current.exists(key)

    def size(self, key: str) -> int:
        return self.current.size(key)

    def identity(self) -> str:
        return self.current.identity()

    def describe(self) -> str:
        return self.current.describe()

    def as_of(self, moment: datetime) -> Store:
        return self.current.as_of(moment)

    def abandoned_uploads(self) -> builtins.list[UnfinishedUpload]:
        return self.current.abandoned_uploads()

    def public_access(self) -> str:
        return self.current.public_access()

    def local_path(self) -> Path | None:
        return self.current.local_path()

    def versions(self, key: str) -> builtins.list[Version]:
        return self.current.versions(key)

    def hidden(self, prefix: str) -> dict[str, builtins.list[Version]]:
        if prefix not in self._hidden:
            self._hidden[prefix] = self.current.hidden(prefix)
        return self._hidden[prefix]

    def open_version(self, key: str, version: Version) -> Blocks:
        return self.current.open_version(key, version)

    def locked_until(self, key: str) -> datetime | None:
        return self.current.locked_until(key)

    def protection(self) -> Protection | None:
        return self.current.protection()

    def _open(self, name: str) -> Callable[[int], Blocks]:
        return self.current._open(name)

    def _list(self, folder: str) -> Iterator[Stored]:
        return self.current._list(folder)

    def _list_dirs(self, folder: str) -> builtins.list[str]:
        return self.current._list_dirs(folder)

    def _size(self, name: str) -> int | None:
        return self.current._size(name)

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        raise NotImplementedError(name)

    def _put_small(self, name: str, data: bytes) -> None:
        raise NotImplementedError(name)

    def _delete(self, name: str) -> None:
        raise NotImplementedError(name)


def _is_document(key: str) -> bool:
    return key.startswith(FOLDERS) and key.endswith((".json", ".sig"))


def _is_small(item: Stored) -> bool:
    return bool(item.tag) and item.size <= LARGEST and _is_document(item.key)
