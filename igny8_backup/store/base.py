"""The interface ``Store``, through which backups use storage.

Backups only write, read, list and delete objects. The key of an object is relative to the prefix of the
store, for example ``backups/20261122T021500Z-7f3a9c/manifest.json``. An object exists completely or not at
all, except in a ``GenericStore``.
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
from typing import BinaryIO, Self

from igny8_backup.errors import StorageError
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_file

SMALL = 64 << 20
"""Default for the largest object that ``read_small`` holds in memory, in bytes."""

LONGEST_KEY = 1024
"""Largest length of a key in bytes, prefix included: the limit of S3."""

LONGEST_PART = 255
"""Largest length in bytes of a name between two slashes of a key: the limit of most filesystems."""

SETTING = 'STORAGES["dbbackup"]'
"""The Django setting that configures the storage of backups, as hints name it."""


class MissingObjectError(StorageError):
    """The storage has no object with the requested key."""


class ObjectExistsError(StorageError):
    """The key of a new object is in use. A request whose answer was lost may have created the object."""


class UnreachableError(StorageError):
    """The storage did not answer, or the connection to it broke. A later attempt may succeed."""


@dataclass(frozen=True)
class Stored:
    """An object in storage, with its size in bytes and the time of writing (aware; ``None`` if unknown)."""

    key: str
    size: int
    modified: datetime | None


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that was neither finished nor aborted. Its parts cost money but are not listed."""

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


def missing_error(name: str, place: str) -> MissingObjectError:
    """Return the error for an object that ``place``, a storage as messages describe it, lacks."""
    return MissingObjectError(
        f"{name} is missing in {place}.", hint="List the existing backups: list_backups."
    )


def exists_error(name: str, place: str) -> ObjectExistsError:
    """Return the error for an object that cannot be written because ``place`` has it already."""
    return ObjectExistsError(
        f"{name} already exists in {place}.",
        unchanged="It was not overwritten.",
        hint="Start the backup again: each run uses new names.",
    )


class Store(ABC):
    """The objects of backups in a Django storage. Every failure of the storage raises ``StorageError``.

    Subclasses implement the methods whose names begin with an underscore; these receive ``name``, which is
    the prefix followed by a valid key. A store is a context manager. Only one thread at a time may use a
    store, except as ``parallel_reads`` permits.
    """

    parallel_reads = False
    """Whether several threads may call ``open`` at the same time. Other methods must not run in parallel."""

    def __init__(self, prefix: str) -> None:
        """Use the folder ``prefix`` of the storage; the empty string means its root."""
        folder = prefix.removesuffix("/")
        self.prefix = checked_key(folder) + "/" if folder else ""

    def put(self, key: str, blocks: Blocks, *, estimate: int | None = None, claimed: bool = False) -> None:
        """Store the stream ``blocks`` under ``key``, which must not exist, and close the stream.

        ``estimate`` is the approximate size in bytes. With ``claimed`` the caller guarantees that the key
        does not exist and that no other process writes it, so that the store need not check. After a failure
        the object is removed, if the storage still responds. Exceptions of ``blocks`` are raised unchanged;
        raises ``StorageError`` if the storage fails, ``IntegrityError`` if not all bytes have arrived.
        """
        with closing(blocks):
            self._put(self._name(key), blocks, estimate, claimed)

    def put_file(self, key: str, file: BinaryIO, *, claimed: bool = False) -> None:
        """Store the content of an open file under ``key``, as ``put`` stores a stream.

        Because the size is known in advance, this may need fewer requests and less memory than ``put``. The
        caller closes the file.
        """
        size = file.seek(0, os.SEEK_END)  # also flushes the buffer of the file
        file.seek(0)
        self._put_file(self._name(key), file, size, claimed)

    def put_small(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``, and replace an existing object: atomically if the storage can."""
        self._put_small(self._name(key), data)

    def open(self, key: str) -> Blocks:
        """Yield the content of the object ``key``. The object is opened when the first block is requested.

        Raises ``MissingObjectError``, and ``IntegrityError`` if the object is shorter than the storage
        reported or changes while it is read.
        """
        return self._open(self._name(key))

    def read_small(self, key: str, limit: int = SMALL) -> bytes:
        """Return the content of the object ``key``. Raises ``StorageError`` above ``limit`` bytes."""
        data = bytearray()
        with closing(self.open(key)) as blocks:
            for block in blocks:
                data += block
                if len(data) > limit:
                    raise StorageError(
                        f"{key} in {self.describe()} is larger than {limit} bytes.",
                        hint="Backups contain no such object. Examine it, and delete it if it is not needed.",
                    )
        return bytes(data)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield every object in the folder ``prefix`` and its subfolders, sorted by key.

        A missing folder yields nothing.
        """
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
            raise missing_error(name, self.describe())
        return size

    def delete(self, key: str) -> None:
        """Delete an object. A missing object is no error."""
        self._delete(self._name(key))

    def abandoned_uploads(self) -> builtins.list[UnfinishedUpload]:
        """Return the unfinished multipart uploads, including those that another process still performs."""
        return []

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Abort an unfinished upload, which frees its space. A missing upload is no error."""
        return

    def local_path(self) -> Path | None:
        """Return the folder that contains all objects, or ``None`` if the storage is not a local folder."""
        return None

    @abstractmethod
    def identity(self) -> str:
        """Return the location, without secrets and equal in every process, for use as the name of a lock."""

    @abstractmethod
    def describe(self) -> str:
        """Return the location for error messages, without secrets."""

    def close(self) -> None:
        """Close connections to the storage. May be called more than once."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None: ...

    def _put_file(self, name: str, file: BinaryIO, size: int, claimed: bool) -> None:
        """Store ``file``, whose position is its beginning, under ``name``."""
        with closing(from_file(file.fileno())) as blocks:
            self._put(name, blocks, size, claimed)

    @abstractmethod
    def _put_small(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def _open(self, name: str) -> Blocks: ...

    @abstractmethod
    def _list(self, folder: str) -> Iterator[Stored]:
        """Yield the objects below ``folder`` (empty or with a slash at its end), sorted by name."""

    @abstractmethod
    def _list_dirs(self, folder: str) -> builtins.list[str]: ...

    @abstractmethod
    def _size(self, name: str) -> int | None:
        """Return the size in bytes, or ``None`` for a missing object.

        Raises ``StorageError`` if the storage is unreachable, so that no object seems to be missing then.
        """

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    def _name(self, key: str) -> str:
        return checked_key(self.prefix + checked_key(key))

    def _folder(self, prefix: str) -> str:
        folder = prefix.removesuffix("/")
        return self._name(folder) + "/" if folder else self.prefix
