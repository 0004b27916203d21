"""The interface ``Store``, through which backups use storage.

A store is a Django storage reduced to what backups need: streams are written and read, keys are listed and
deleted. Keys are relative to the prefix of the store, with parts joined by ``/``, like
``backups/20261122T021500Z-7f3a9c/manifest.json``. An object exists completely or not at all.
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
"""Default for the largest object that ``read_small`` holds in memory, in bytes."""

LONGEST_KEY = 1024
"""Largest length of a key in bytes, prefix included: the limit of S3."""

LONGEST_PART = 255
"""Largest length of a part of a key in bytes: the limit of most filesystems."""

SETTING = 'STORAGES["dbbackup"]'
"""The setting of the storage, for hints."""


class MissingObjectError(StorageError):
    """There is no object under the key."""


class UnreachableError(StorageError):
    """The storage did not answer, or the connection broke. A later attempt may succeed."""


@dataclass(frozen=True)
class Stored:
    """An object in storage: its key, its size in bytes, and when it was written (aware, if known)."""

    key: str
    size: int
    modified: datetime | None


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload that was neither finished nor aborted. It costs money, and listings do not show it."""

    key: str
    upload_id: str
    initiated: datetime


def checked_key(key: str) -> str:
    """Return ``key`` if every storage can hold it unchanged; otherwise raise ``StorageError``."""
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
    """The objects of backups in a Django storage. Every failure of the storage raises ``StorageError``.

    Subclasses implement the methods with an underscore, which get full names: the prefix and a valid key. A
    store is a context manager, and is used by one thread at a time, except for ``parallel_reads``.
    """

    parallel_reads = False
    """Whether several threads may call ``open`` at the same time. No other method is called in parallel."""

    def __init__(self, prefix: str) -> None:
        """``prefix`` is the folder in the storage that contains all keys, or empty."""
        folder = prefix.removesuffix("/")
        self.prefix = checked_key(folder) + "/" if folder else ""

    def put(self, key: str, blocks: Blocks, *, estimate: int | None = None, claimed: bool = False) -> None:
        """Store the stream under ``key``, which must not exist. ``estimate`` is its approximate size in
        bytes.

        ``claimed`` states that the key does not exist and that nobody else writes it, which saves a request
        where the storage has to be asked. If anything fails, the object is removed, provided that the storage
        still responds. Exceptions of the source are raised unchanged; raises ``StorageError`` if the storage
        fails and ``IntegrityError`` if not all bytes have arrived. ``blocks`` is always closed.
        """
        with closing(blocks):
            self._put(self._name(key), blocks, estimate, claimed)

    def put_file(self, key: str, file: BinaryIO, *, claimed: bool = False) -> None:
        """Store a complete open file, like ``put``. The caller closes the file.

        Because the size is known beforehand, this may need fewer requests and less memory.
        """
        size = file.seek(0, os.SEEK_END)  # also flushes the buffer of the file
        file.seek(0)
        self._put_file(self._name(key), file, size, claimed)

    def put_small(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``, replacing an existing object; atomically if the storage can."""
        self._put_small(self._name(key), data)

    def open(self, key: str) -> Blocks:
        """Yield the content of an object, which is opened when the first block is requested.

        Raises ``MissingObjectError``, and ``IntegrityError`` if the object is shorter than the storage
        reported or changes while it is read.
        """
        return self._open(self._name(key))

    def read_small(self, key: str, limit: int = SMALL) -> bytes:
        """Return the content of an object of at most ``limit`` bytes."""
        data = bytearray()
        with closing(self.open(key)) as blocks:
            for block in blocks:
                data += block
                if len(data) > limit:
                    raise StorageError(
                        f"{key} in {self.describe()} is larger than {limit} bytes.",
                        hint="It cannot be what its name says. Examine it, and delete it if it is not yours.",
                    )
        return bytes(data)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield every object in the folder ``prefix`` and below, by key. A missing folder is empty."""
        for stored in self._list(self._folder(prefix)):
            yield replace(stored, key=stored.key[len(self.prefix) :])

    def list_dirs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of the folders directly in ``prefix`` that contain an object, sorted."""
        return sorted(self._list_dirs(self._folder(prefix)))

    def exists(self, key: str) -> bool:
        """Return whether an object exists under ``key``."""
        return self._size(self._name(key)) is not None

    def size(self, key: str) -> int:
        """Return the size of an object in bytes. Raises ``MissingObjectError``."""
        name = self._name(key)
        size = self._size(name)
        if size is None:
            raise self._missing(name)
        return size

    def delete(self, key: str) -> None:
        """Delete an object. A missing object is no error."""
        self._delete(self._name(key))

    def abandoned_uploads(self) -> builtins.list[UnfinishedUpload]:
        """Return unfinished uploads that listings do not show, including any that is still running."""
        return []

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Free the space of an unfinished upload. A missing upload is no error."""
        return

    def local_path(self) -> Path | None:
        """Return the folder that contains all objects, if the storage is a folder on this machine."""
        return None

    @abstractmethod
    def identity(self) -> str:
        """Return the location without secrets. It is the same in every process: locks are named by it."""

    @abstractmethod
    def describe(self) -> str:
        """Return the location without secrets, for messages."""

    def close(self) -> None:
        """Close connections. May be called more than once."""
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
        """``file`` and its descriptor are at their beginning."""
        with closing(from_file(file.fileno())) as blocks:
            self._put(name, blocks, size, claimed)

    @abstractmethod
    def _put_small(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def _open(self, name: str) -> Blocks: ...

    @abstractmethod
    def _list(self, folder: str) -> Iterator[Stored]:
        """Yield objects by full name, sorted. ``folder`` is empty or ends with a slash."""

    @abstractmethod
    def _list_dirs(self, folder: str) -> builtins.list[str]: ...

    @abstractmethod
    def _size(self, name: str) -> int | None:
        """Return ``None`` for a missing object. Raises if the storage is unreachable."""

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
            hint="List the existing backups with list_backups.",
        )

    def _exists_error(self, name: str) -> StorageError:
        return StorageError(
            f"{name} already exists in {self.describe()}.",
            unchanged="It was not overwritten.",
            hint="Start the backup again: each run uses new names.",
        )
