"""The store for a Django storage that is neither a local folder nor S3, used through Django's own API.

Django's API guarantees less than the other stores. The storage may buffer a complete object in memory or in a
temporary file. ``put_small`` deletes the old object before it writes the new one. A crash may leave part of
an object under its final name; no manifest names that object, so it counts as an orphan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast
from urllib.parse import urlsplit

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage

from igny8_backup.common.outside import is_from_outside
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import Store
from igny8_backup.store.foreign import translated_errors
from igny8_backup.store.objects import SETTING, Stored, exists_error, incomplete_error, missing_error
from igny8_backup.store.retry import Retry
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.block_reader import BlockReader

# Attributes in which well-known storages hold their location. None of these attributes is a secret.
PLACES = ("endpoint_url", "account_name", "azure_container", "bucket_name", "_host", "location", "root_path")


class GenericStore(Store):
    """A store on a Django storage for which this package has no store of its own."""

    def __init__(self, storage: Storage, prefix: str, retry: Retry | None = None) -> None:
        super().__init__(prefix, retry)
        self.storage = storage

    def identity(self) -> str:
        kind = type(self.storage)
        places = [_without_userinfo(str(getattr(self.storage, place, None) or "")) for place in PLACES]
        where = "|".join(filter(None, places)).rstrip("/")
        return f"{kind.__module__}.{kind.__qualname__}:{where}/{self.prefix}"

    def describe(self) -> str:
        return f"{type(self.storage).__name__}, under {self.prefix or 'its root'}"

    def local_path(self) -> Path | None:
        if isinstance(self.storage, FileSystemStorage):
            return Path(self.storage.path(self.prefix))
        return None

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        with self._translated_errors("read"):
            exists = self.storage.exists(name)
        if exists:
            raise exists_error(name, self.describe())
        source = _Source(blocks)
        written = name
        try:
            with BlockReader(source.blocks()) as reader, self._translated_errors("write"):
                written = self.storage.save(name, File(cast("IO[bytes]", reader), name=name))
            self._require_name(name, written)
            if not source.ended:
                raise self._unsuitable("stopped reading before the end of the stream")
            if (size := self._size(name)) != source.passed:
                raise incomplete_error(name, self.describe(), sent=source.passed, stored=size or 0)
        except BaseException:
            self._discard(written)
            if source.failure is None:
                raise
        # The storage may have wrapped or swallowed the exception of the source.
        if source.failure is not None:
            raise source.failure

    def _put_small(self, name: str, data: bytes) -> None:
        self._delete(name)
        with self._translated_errors("write"):
            written = self.storage.save(name, ContentFile(data, name=name))
        if written != name:
            self._discard(written)
        self._require_name(name, written)

    def _open(self, name: str) -> Callable[[int], Blocks]:
        sizes: list[int] = []

        def read(offset: int) -> Blocks:
            size = self._size(name)
            if size is None:
                raise missing_error(name, self.describe())
            sizes.append(size)
            if size != sizes[0]:
                what = f"{name} in {self.describe()} was changed while it was read."
                raise IntegrityError(what, hint="Find out what else writes to that storage, then try again.")
            return self._read(name, size, offset)

        return read

    def _read(self, name: str, size: int, offset: int) -> Blocks:
        with self._translated_errors("read"):
            try:
                file = self.storage.open(name)
            except FileNotFoundError:
                raise missing_error(name, self.describe()) from None
        passed = 0
        try:
            pieces = iter(file.chunks(BLOCK))
            while block := self._next(pieces):
                passed += len(block)
                # Not every storage can begin at an offset, so what was read before is read again.
                if new := block[max(len(block) - (passed - offset), 0) :] if passed > offset else b"":
                    yield new
        finally:
            with suppress(Exception):  # of a connection that broke
                file.close()
        if passed != size:
            raise IntegrityError(
                f"{self.describe()} returned {passed} of the {size} bytes of {name}.",
                hint="Try again. If it fails again, use another backup (list_backups).",
            )

    def _next(self, pieces: Iterator[bytes]) -> bytes:
        with self._translated_errors("read"):
            return next(pieces, b"")

    def _list(self, folder: str) -> Iterator[Stored]:
        folders, files = self._listdir(folder)
        # Folders are sorted with their slash, so that all keys are yielded in order.
        for entry in sorted([*(f"{name}/" for name in folders), *files]):
            name = folder + entry
            if entry.endswith("/"):
                yield from self._list(name)
                continue
            with self._translated_errors("list"):
                try:
                    size = self.storage.size(name)
                except FileNotFoundError:  # finished or deleted since the folder was read
                    continue
                modified = self._modified(name)
            yield Stored(name, size, modified)

    def _list_dirs(self, folder: str) -> list[str]:
        return [name for name in self._listdir(folder)[0] if any(self._list(f"{folder}{name}/"))]

    def _listdir(self, folder: str) -> tuple[list[str], list[str]]:
        with self._translated_errors("list"):
            try:
                return self.storage.listdir(folder.rstrip("/"))
            except (FileNotFoundError, NotADirectoryError, FileExistsError):
                # A missing folder is empty, provided that the storage itself exists. (For a file, Django's
                # in-memory storage raises FileExistsError.)
                self.storage.listdir("")
                return [], []

    def _modified(self, name: str) -> datetime | None:
        try:
            modified = self.storage.get_modified_time(name)
        except NotImplementedError:
            return None
        return modified.astimezone(UTC)

    def _size(self, name: str) -> int | None:
        with self._translated_errors("read"):
            try:
                if self.storage.exists(name):
                    return self.storage.size(name)
            except FileNotFoundError:
                pass
        self._listdir(self.prefix)  # raises if the storage is unreachable: the object is not just missing
        return None

    def _delete(self, name: str) -> None:
        with self._translated_errors("delete from"), suppress(FileNotFoundError):
            self.storage.delete(name)

    def _discard(self, name: str) -> None:
        """Delete the object that a failed write left under ``name``, if the storage still responds."""
        try:
            self.storage.delete(name)
        except Exception as error:
            if is_from_outside(error):
                raise

    def _require_name(self, name: str, written: str) -> None:
        if written != name:
            raise self._unsuitable(f"renames objects ({name} became {written})")

    def _unsuitable(self, what: str) -> StorageError:
        return StorageError(
            f"{self.describe()} {what}. The stored object was removed.",
            hint=f"Set {SETTING} to a storage that stores streams of unknown length under the given name.",
        )

    def _translated_errors(self, action: str) -> AbstractContextManager[None]:
        return translated_errors(action, self.describe())


class _Source:
    """A file object from which a storage reads a stream. It counts the bytes that the storage has read.

    ``failure`` is the exception that the stream raised, because the storage may wrap or swallow it.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self.passed = 0
        self.ended = False
        self.failure: BaseException | None = None

    def blocks(self) -> Blocks:
        try:
            for block in self._blocks:
                self.passed += len(block)
                yield block
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise
        self.ended = True


def _without_userinfo(place: str) -> str:
    """Return a location without the user, password and query, if it is a URL."""
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
