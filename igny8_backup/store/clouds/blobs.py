"""The store for object storages other than S3: what Azure and Google have in common.

An object appears only when its upload is complete. Uploads are sent in parts, so each part can be repeated.
Each upload carries a token of its own, by which an upload whose answer was lost is recognized.
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import BinaryIO, TypeVar

from igny8_backup.common.deadline import within
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import Store
from igny8_backup.store.foreign import translated_errors
from igny8_backup.store.objects import (
    ObjectExistsError,
    UnreachableError,
    exists_error,
    missing_error,
)
from igny8_backup.store.retry import SLOWEST
from igny8_backup.store.small import blocks_of, parts_of
from igny8_backup.streams import BLOCK, Blocks

T = TypeVar("T")

PART = 8 << 20
"""Size in bytes of each part of an upload but the last, which can be smaller. Two parts are in memory."""
PIECE = 4 << 20
"""Size in bytes of the pieces of a download, each of which is a request."""
TOKEN = "igny8upload"  # noqa: S105 - the name of a metadata field, not a secret


@dataclass(frozen=True)
class Blob:
    """An object: its size in bytes, the version that the storage gave it, and the token of its upload."""

    size: int
    version: str
    token: str


class BlobStore(Store):
    """A store on an object storage. Subclasses use the client library of their service.

    The methods of subclasses receive the complete key of an object. They raise the errors of their client
    library, and ``ObjectExistsError`` if the key of a new object is in use.
    """

    parallel_streams = True
    streams_again = True
    part = PART

    @abstractmethod
    def _key(self, name: str) -> str:
        """Return the complete key: the location of the storage and ``name``."""

    @abstractmethod
    def _head(self, key: str) -> Blob | None:
        """Look up an object; return ``None`` if it is missing. A missing container or bucket is an error."""

    @abstractmethod
    def _read(self, key: str, start: int, length: int, version: str) -> bytes:
        """Return ``length`` bytes from ``start`` of this version of an object."""

    @abstractmethod
    def _send(self, key: str, data: bytes, token: str, *, replace: bool) -> None:
        """Store an object in one request, with its ``token``.

        ``replace``: an existing object of this key is replaced.
        """

    @abstractmethod
    def _send_parts(self, key: str, parts: Iterator[bytes], token: str) -> None:
        """Store a new object in parts. If ``parts`` raises, abort the upload.

        Implementations repeat each request with ``self.retry`` and translate its errors. Exceptions of
        ``parts`` pass through unchanged.
        """

    @abstractmethod
    def _remove(self, key: str) -> None:
        """Delete an object. A missing object is no error."""

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        key, token = self._key(name), secrets.token_hex(8)
        if not claimed and self._look_up(name) is not None:
            raise exists_error(name, self.describe())
        sent = 0

        def counted() -> Iterator[bytes]:
            nonlocal sent
            for part in parts_of(blocks, self.part):
                sent += len(part)
                yield part

        parts = counted()
        first = next(parts, b"")
        try:
            if len(first) < self.part:
                self._create(name, token, lambda: self._send(key, first, token, replace=False))
            else:
                self._send_parts(key, chain([first], parts), token)
            self._check(name, sent)
        except ObjectExistsError:
            raise
        except BaseException:
            self._discard(key, token)
            raise

    def _put_file(self, name: str, file: BinaryIO, size: int, claimed: bool) -> None:
        with closing(blocks_of(file)) as blocks:
            self._put(name, blocks, size, claimed)

    def _put_small(self, name: str, data: bytes) -> None:
        key, token = self._key(name), secrets.token_hex(8)
        self._ask("write", name, lambda: self._send(key, data, token, replace=True), size=len(data))

    def _create(self, name: str, token: str, send: Callable[[], None]) -> None:
        """Call ``send``, which creates the object ``name``, and repeat it as long as ``self.retry`` permits.

        If an earlier call has created the object and only its answer was lost, the object has the ``token``
        of this upload; that counts as success. Otherwise an existing object raises ``ObjectExistsError``.
        """

        def attempt() -> None:
            try:
                self._ask("write", name, send, size=self.part)
            except ObjectExistsError:
                found = self._ask("read", name, lambda: self._head(self._key(name)))
                if found is None or found.token != token:
                    raise exists_error(name, self.describe()) from None

        self.retry.call(attempt)

    def _check(self, name: str, sent: int) -> None:
        found = self._look_up(name)
        if found is None or found.size != sent:
            raise IntegrityError(
                f"{sent} bytes were sent to {name}, but {self.describe()} has stored"
                f" {found.size if found else 0} bytes.",
                hint="Run the backup again; the new run does not use this object. If it fails again, use"
                " another storage.",
            )

    def _discard(self, key: str, token: str) -> None:
        """Delete the object that a failed upload with this ``token`` left, if the storage still responds."""
        with suppress(Exception):
            found = self._head(key)
            if found and found.token == token:
                self._remove(key)

    def _look_up(self, name: str) -> Blob | None:
        key = self._key(name)
        return self.retry.call(lambda: self._ask("read", name, lambda: self._head(key)))

    def _open(self, name: str) -> Callable[[int], Blocks]:
        seen: list[Blob] = []

        def read(offset: int) -> Blocks:
            if not seen:
                found = self._look_up(name)
                if found is None:
                    raise missing_error(name, self.describe())
                seen.append(found)
            return self._blocks(name, seen[0], offset)

        return read

    def _blocks(self, name: str, blob: Blob, offset: int) -> Blocks:
        key = self._key(name)
        while offset < blob.size:
            length = min(PIECE, blob.size - offset)
            read = partial(self._read, key, offset, length, blob.version)
            try:
                piece = self._ask("read", name, read, size=length)
            except UnreachableError:
                raise
            except StorageError:
                found = self._look_up(name)
                if found is None or found.version != blob.version:
                    raise IntegrityError(
                        f"{name} in {self.describe()} was changed or deleted while it was read.",
                        hint="Find out what else writes to that storage, then run the command again.",
                    ) from None
                raise
            if len(piece) != length:
                raise IntegrityError(
                    f"{self.describe()} returned {len(piece)} of the {length} bytes of {name} from {offset}.",
                    hint="Try again. If it fails again, use another backup (list_backups).",
                )
            offset += length
            for start in range(0, length, BLOCK):
                yield piece[start : start + BLOCK]

    def _size(self, name: str) -> int | None:
        found = self._ask("read", name, lambda: self._head(self._key(name)))
        return found.size if found else None

    def _delete(self, name: str) -> None:
        self._ask("delete", name, lambda: self._remove(self._key(name)))

    def _ask(self, action: str, name: str, call: Callable[[], T], size: int = 0) -> T:
        """Send one request with ``call`` and return its result. Raises if the answer takes too long.

        ``action`` and ``name`` describe the request in errors. ``size`` is the number of bytes that are sent
        or received; more bytes get more time.
        """
        limit = self.retry.answer_seconds + size / SLOWEST
        with translated_errors(f"{action} {name} in", self.describe()):
            return within(limit, call, name="store-request")
