"""The interface ``Store``, through which backups use storage.

Backups only write, read, list and delete objects. The key of an object is relative to the prefix of the
store, for example ``backups/20261122T021500Z-7f3a9c/manifest.json``. An object exists completely or not at
all, except in a ``GenericStore``.
"""

from __future__ import annotations

import builtins
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime
from io import BytesIO
from typing import BinaryIO, Self

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.objects import (
    LockedObjectError,
    ObjectExistsError,
    Stored,
    checked_key,
    missing_error,
)
from igny8_backup.store.optional_methods import OptionalMethods
from igny8_backup.store.retry import Retry
from igny8_backup.store.small import blocks_of, joined, read_start, same_content
from igny8_backup.streams import Blocks

SMALL = 16 << 20
"""Default for the largest object that ``read_small`` holds in memory, in bytes."""

SMALL_STREAM = 4 << 20
"""Largest stream in bytes that ``put`` holds in memory, so that it can be sent again."""


class Store(OptionalMethods, ABC):
    """The objects of backups in a Django storage. Every failure of the storage raises ``StorageError``.

    Subclasses implement the methods whose names begin with an underscore; these receive ``name``, which is
    the prefix followed by a valid key. A request that fails with an ``UnreachableError`` is repeated as long
    as ``retry`` permits. A store is a context manager. Only one thread at a time may use a store, except as
    ``parallel_streams`` permits.
    """

    def __init__(self, prefix: str, retry: Retry | None = None) -> None:
        """Use the folder ``prefix`` of the storage; the empty string means its root.

        ``retry`` decides how long failed requests are repeated; without it, they are not repeated.
        """
        folder = prefix.removesuffix("/")
        self.prefix = checked_key(folder) + "/" if folder else ""
        self.retry = retry or Retry()

    def put(self, key: str, blocks: Blocks, *, estimate: int | None = None, claimed: bool = False) -> None:
        """Store the stream ``blocks`` under ``key``, which must not exist, and close the stream.

        ``estimate`` is the approximate size in bytes. With ``claimed`` the caller guarantees that the key
        does not exist and that no other process writes it, so that the store need not check. After a failure
        the object is removed, if the storage still responds. Exceptions of ``blocks`` are raised unchanged;
        raises ``StorageError`` if the storage fails, ``IntegrityError`` if not all bytes have arrived.
        """
        with closing(blocks):
            name = self._name(key)
            if self.streams_again:
                self._put(name, blocks, estimate, claimed)
                return
            start = read_start(blocks, SMALL_STREAM)
            if sum(map(len, start)) <= SMALL_STREAM:  # all of it
                self._put_again(name, BytesIO(b"".join(start)), claimed)
            else:
                with closing(joined(start, blocks)) as whole:
                    self._put(name, whole, estimate, claimed)

    def put_file(self, key: str, file: BinaryIO, *, claimed: bool = False) -> None:
        """Store the content of an open file under ``key``, as ``put`` stores a stream.

        Because the size is known in advance, this may need fewer requests and less memory than ``put``. The
        caller closes the file.
        """
        self._put_again(self._name(key), file, claimed)

    def put_small(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``; replace an existing object, atomically if the storage can do that."""
        name = self._name(key)
        self.retry.call(lambda: self._put_small(name, data))

    def open(self, key: str) -> Blocks:
        """Yield the content of the object ``key``. The object is opened when the first block is requested.

        Raises ``MissingObjectError``, and ``IntegrityError`` if the object is shorter than the storage
        reported or changes while it is read.
        """
        return self.retry.stream(self._open(self._name(key)))

    def read_small(self, key: str, limit: int = SMALL) -> bytes:
        """Return the content of the object ``key``. Raises ``IntegrityError`` above ``limit`` bytes."""
        data = bytearray()
        with closing(self.open(key)) as blocks:
            for block in blocks:
                data += block
                if len(data) > limit:
                    raise IntegrityError(
                        f"{key} in {self.describe()} is larger than {limit} bytes.",
                        unchanged="It was not read any further.",
                        hint="No backup has so large an object under this key. Delete it if nobody needs it.",
                    )
        return bytes(data)

    def list(self, prefix: str = "", unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
        """Yield every object in the folder ``prefix`` and its subfolders, sorted by key.

        A missing folder yields nothing. A subfolder that cannot be listed is an error, unless ``unlisted`` is
        given: then it is added there, with the reason.
        """
        folder = self._folder(prefix)
        found = self.retry.call(lambda: [*self._list(folder)])[::-1]
        while found:  # each object is freed once it was taken
            stored = found.pop()
            yield stored.renamed(stored.key[len(self.prefix) :])

    def list_dirs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of the folders directly in ``prefix`` that contain an object, sorted."""
        folder = self._folder(prefix)
        return sorted(self.retry.call(lambda: self._list_dirs(folder)))

    def exists(self, key: str) -> bool:
        """Return whether an object exists under ``key``."""
        return self._size_of(key) is not None

    def size(self, key: str) -> int:
        """Return the size of an object in bytes. Raises ``MissingObjectError``."""
        size = self._size_of(key)
        if size is None:
            raise missing_error(self._name(key), self.describe())
        return size

    def delete(self, key: str) -> None:
        """Delete an object. A missing object is no error."""
        name = self._name(key)
        self.retry.call(lambda: self._delete(name))

    def as_of(self, moment: datetime) -> Store:
        """Return a store that shows the objects as they were at ``moment``, and that writes nothing.

        Raises ``StorageError`` if the storage keeps no versions.
        """
        raise StorageError(
            "The storage keeps no versions of its objects, so it cannot show what was there at"
            f" {moment.isoformat(timespec='seconds')}.",
            unchanged="Nothing was read or written.",
            hint="Leave out --as-of. Versions can be kept in S3, if the bucket has versioning switched on.",
        )

    def delete_several(self, keys: Sequence[str], check: Callable[[], None]) -> Iterator[str]:
        """Delete objects with as few requests as possible; yield the keys of those that are deleted.

        Missing objects are no error. Locked ones are left out. ``check`` is called before each request, and
        may raise.
        """
        for key in keys:
            check()
            with suppress(LockedObjectError):
                self.delete(key)
                yield key

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
        """Store the content of ``file`` (``size`` bytes, read from the beginning) under ``name``."""
        with closing(blocks_of(file)) as blocks:
            self._put(name, blocks, size, claimed)

    @abstractmethod
    def _put_small(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def _open(self, name: str) -> Callable[[int], Blocks]:
        """Return a function that yields the content of the object from an offset (in bytes) on.

        If the function raises ``UnreachableError``, it is called again, with the offset that was reached. It
        raises ``IntegrityError`` if the object has changed since the first call.
        """

    @abstractmethod
    def _list(self, folder: str) -> Iterator[Stored]:
        """Yield the objects below ``folder`` (empty or with a slash at its end), sorted by name."""

    @abstractmethod
    def _list_dirs(self, folder: str) -> builtins.list[str]: ...

    @abstractmethod
    def _size(self, name: str) -> int | None:
        """Return the size in bytes, or ``None`` for a missing object.

        If the storage is unreachable, it is unknown whether the object exists, so this raises
        ``StorageError``.
        """

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    def _put_again(self, name: str, file: BinaryIO, claimed: bool) -> None:
        """Store ``file`` under ``name``, and repeat this from the beginning of the file if it fails."""
        size = file.seek(0, os.SEEK_END)  # also flushes the buffer of the file
        sent = False

        def send() -> None:
            nonlocal sent
            again, sent = sent, True
            file.seek(0)
            try:
                self._put_file(name, file, size, claimed)
            except ObjectExistsError:
                # An attempt whose answer was lost may have stored the object.
                if not (again and same_content(self._open(name)(0), file)):
                    raise

        self.retry.call(send)

    def _size_of(self, key: str) -> int | None:
        name = self._name(key)
        return self.retry.call(lambda: self._size(name))

    def _name(self, key: str) -> str:
        return checked_key(self.prefix + checked_key(key))

    def _folder(self, prefix: str) -> str:
        folder = prefix.removesuffix("/")
        return self._name(folder) + "/" if folder else self.prefix
