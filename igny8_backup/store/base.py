"""What a store is: backups see storage only through this.

A store is a Django storage narrowed to what backups need: a stream goes in, a stream comes out, keys are
listed and deleted. Keys are relative to the store's prefix, parts joined by ``/``, like
``backups/20261122T021500Z-7f3a9c/manifest.json``. An object is there whole or not at all.
"""

from __future__ import annotations

import builtins
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from igny8_backup.errors import StorageError
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_file

SMALL = 64 << 20
"""Bytes that ``read_small`` holds in memory at most, unless told otherwise."""

LONGEST_KEY = 1024
"""Bytes of a whole key, prefix included: the limit of S3."""

LONGEST_PART = 255
"""Bytes between two slashes: the limit of most filesystems."""

SETTING = 'STORAGES["dbbackup"]'
"""Where the storage is configured, as the fixes name it."""


class MissingObjectError(StorageError):
    """No object lies under that key."""


class UnreachableError(StorageError):
    """The storage did not answer, or its answer broke off: worth trying again later."""


@dataclass(frozen=True)
class Stored:
    """One object in storage: its key, its size in bytes, when it was written (aware, if known)."""

    key: str
    size: int
    modified: datetime | None


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload that was begun and neither finished nor aborted; it costs money and no listing shows it."""

    key: str
    upload_id: str
    initiated: datetime


def checked_key(key: str) -> str:
    """Give ``key`` back if every storage can hold it as it is; else raise StorageError."""
    parts = key.split("/")
    sound = (
        all(part not in ("", ".", "..") for part in parts)
        and key.isprintable()
        and "\\" not in key
        and all(len(part.encode()) <= LONGEST_PART for part in parts)
        and len(key.encode()) <= LONGEST_KEY
    )
    if not sound:
        raise StorageError(
            f"{key!r} cannot be a key in storage.",
            unchanged="Nothing was read or written.",
            hint="Use names joined by single slashes, without '.', '..', backslashes or control characters.",
        )
    return key


class Store(ABC):
    """A Django storage as backups see it. Every failure of the storage comes out as a StorageError.

    Subclasses fill in the methods with an underscore; those get whole names (prefix and key, checked).
    A store is a context manager, used by one thread at a time (but see ``parallel_reads``).
    """

    parallel_reads = False
    """Whether several threads may ``open`` objects at a time; nothing else is asked of it in parallel."""

    def __init__(self, prefix: str) -> None:
        """``prefix`` is the folder inside the storage that holds everything, or empty."""
        folder = prefix.removesuffix("/")
        self.prefix = checked_key(folder) + "/" if folder else ""

    def put(self, key: str, blocks: Blocks, *, estimate: int | None = None, claimed: bool = False) -> None:
        """Store the stream under ``key``, which must be free; ``estimate`` is its size in bytes, about.

        ``claimed``: nothing lies there and nobody else writes there, as the caller knows. A storage that has
        to be asked for that is not asked then.

        Whatever goes wrong, nothing is left under the key, as far as the storage still listens: an exception
        of the source comes out as it is, a failure of the storage as StorageError, bytes that did not all
        arrive as IntegrityError. ``blocks`` is always closed.
        """
        with closing(blocks):
            self._put(self._name(key), blocks, estimate, claimed)

    def put_file(self, key: str, file: BinaryIO, *, claimed: bool = False) -> None:
        """Store an open file of this machine, from its beginning to its end, as ``put`` stores a stream.

        It stays the caller's. Its length is known beforehand: where that saves requests or memory, it does.
        """
        size = file.seek(0, os.SEEK_END)  # what was written to it reaches its descriptor, too
        file.seek(0)
        self._put_file(self._name(key), file, size, claimed)

    def put_small(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``, replacing what is there; in one step where the storage can."""
        self._put_small(self._name(key), data)

    def open(self, key: str) -> Blocks:
        """Stream the object, opened when the first block is asked for: MissingObjectError comes then.

        IntegrityError if it is shorter than the storage said, or changed meanwhile.
        """
        return self._open(self._name(key))

    def read_small(self, key: str, limit: int = SMALL) -> bytes:
        """Give the whole object, which must not be larger than ``limit`` bytes."""
        data = bytearray()
        with closing(self.open(key)) as blocks:
            for block in blocks:
                data += block
                if len(data) > limit:
                    raise StorageError(
                        f"{key} in {self.describe()} is larger than {limit} bytes.",
                        hint="It is not what its name says: look at it, and delete it if it is not yours.",
                    )
        return bytes(data)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Every object in the folder ``prefix`` and below, sorted by key; a missing folder is empty."""
        for stored in self._list(self._folder(prefix)):
            yield replace(stored, key=stored.key[len(self.prefix) :])

    def list_dirs(self, prefix: str = "") -> builtins.list[str]:
        """Names of the folders directly in the folder ``prefix`` that hold an object, sorted."""
        return sorted(self._list_dirs(self._folder(prefix)))

    def exists(self, key: str) -> bool:
        """Whether an object lies under ``key``."""
        return self._size(self._name(key)) is not None

    def size(self, key: str) -> int:
        """Bytes stored under ``key``."""
        name = self._name(key)
        size = self._size(name)
        if size is None:
            raise self._missing(name)
        return size

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is fine."""
        self._delete(self._name(key))

    def abandoned_uploads(self) -> builtins.list[UnfinishedUpload]:
        """Uploads begun and not finished that no listing shows, one under way at this moment included."""
        return []

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Free what an unfinished upload holds; one that is gone is fine."""
        return

    def local_path(self) -> Path | None:
        """The folder on this machine that holds everything, if it is one."""
        return None

    @abstractmethod
    def identity(self) -> str:
        """Where everything lies, without secrets and the same in every process: locks are named by it."""

    @abstractmethod
    def describe(self) -> str:
        """Where everything lies, for people, without secrets."""

    def close(self) -> None:
        """Give connections back. Closing twice is fine."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None: ...

    def _put_file(self, name: str, file: BinaryIO, size: int, claimed: bool) -> None:
        """``file`` is at its beginning, and so is its descriptor."""
        with closing(from_file(file.fileno())) as blocks:
            self._put(name, blocks, size, claimed)

    @abstractmethod
    def _put_small(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def _open(self, name: str) -> Blocks: ...

    @abstractmethod
    def _list(self, folder: str) -> Iterator[Stored]:
        """Yield whole names, sorted. ``folder`` is empty or ends with a slash."""

    @abstractmethod
    def _list_dirs(self, folder: str) -> builtins.list[str]: ...

    @abstractmethod
    def _size(self, name: str) -> int | None:
        """None for a missing object. An unreachable storage raises."""

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    def _name(self, key: str) -> str:
        return checked_key(self.prefix + checked_key(key))

    def _folder(self, prefix: str) -> str:
        folder = prefix.removesuffix("/")
        return self._name(folder) + "/" if folder else self.prefix

    def _missing(self, name: str) -> MissingObjectError:
        return MissingObjectError(
            f"{name} is missing in {self.describe()}.",
            hint="See what is there with manage.py list_backups.",
        )

    def _taken(self, name: str) -> StorageError:
        return StorageError(
            f"{name} is already in {self.describe()}.",
            unchanged="It was left as it is.",
            hint="Start the backup again: each run writes under names of its own.",
        )
