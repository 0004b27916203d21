"""Any other Django storage, driven through Django's own API.

What that API cannot promise, is not promised here: the storage may hold an object in memory or in a
temporary file while it is written or read, ``put_small`` deletes before it writes, and a crash may leave
part of an object under its final name (no manifest names it, so it is litter).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast
from urllib.parse import urlsplit

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import SETTING, Store, Stored
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import BlockReader

# Attributes by which well-known storages tell where they keep things; none of them is a secret by itself.
PLACES = ("endpoint_url", "account_name", "azure_container", "bucket_name", "_host", "location", "root_path")


class GenericStore(Store):
    """Objects are files of a Django storage that this package has no driver for."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        super().__init__(prefix)
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
        with self._plain_words("read"):
            taken = self.storage.exists(name)
        if taken:
            raise self._taken(name)
        source = _Source(blocks)
        written = name
        try:
            with BlockReader(source.blocks()) as reader, self._plain_words("write"):
                written = self.storage.save(name, File(cast("IO[bytes]", reader), name=name))
            self._require_name(name, written)
            if not source.ended:
                raise self._broken_promise("stopped reading before the end of what it was to store")
            if self._size(name) != source.passed:
                raise IntegrityError(
                    f"{self.describe()} holds another number of bytes under {name} than was written.",
                    unchanged="The object was removed.",
                    hint="Try again; if it happens again, that storage cannot be used for backups.",
                )
        except BaseException:
            self._discard(written)
            if source.failure is None:
                raise
        # The storage may have wrapped or swallowed what the source raised; the source knows better.
        if source.failure is not None:
            raise source.failure

    def _put_small(self, name: str, data: bytes) -> None:
        self._delete(name)
        with self._plain_words("write"):
            written = self.storage.save(name, ContentFile(data, name=name))
        if written != name:
            self._discard(written)
        self._require_name(name, written)

    def _open(self, name: str) -> Blocks:
        size = self._size(name)
        if size is None:
            raise self._missing(name)
        left = size
        with self._plain_words("read"):
            try:
                file = self.storage.open(name)
            except FileNotFoundError:
                raise self._missing(name) from None
        try:
            pieces = iter(file.chunks(BLOCK))
            while block := self._next(pieces):
                left -= len(block)
                yield block
        finally:
            file.close()
        if left:
            raise IntegrityError(
                f"{self.describe()} gave {size - left} of the {size} bytes of {name}.",
                hint="Try again; then restore from another backup.",
            )

    def _next(self, pieces: Iterator[bytes]) -> bytes:
        with self._plain_words("read"):
            return next(pieces, b"")

    def _list(self, folder: str) -> Iterator[Stored]:
        folders, files = self._listdir(folder)
        # A folder sorts with its slash, so that all keys together come out sorted.
        for entry in sorted([*(f"{name}/" for name in folders), *files]):
            name = folder + entry
            if entry.endswith("/"):
                yield from self._list(name)
                continue
            with self._plain_words("list"):
                try:
                    size = self.storage.size(name)
                except FileNotFoundError:  # finished or deleted since the folder was read
                    continue
                modified = self._modified(name)
            yield Stored(name, size, modified)

    def _list_dirs(self, folder: str) -> list[str]:
        return [name for name in self._listdir(folder)[0] if any(self._list(f"{folder}{name}/"))]

    def _listdir(self, folder: str) -> tuple[list[str], list[str]]:
        with self._plain_words("list"):
            try:
                return self.storage.listdir(folder.rstrip("/"))
            except (FileNotFoundError, NotADirectoryError, FileExistsError):
                # Missing is empty, as long as the storage itself is there. (Django's storage in memory says
                # that a folder exists when it is a file.)
                self.storage.listdir("")
                return [], []

    def _modified(self, name: str) -> datetime | None:
        try:
            modified = self.storage.get_modified_time(name)
        except NotImplementedError:
            return None
        return modified.astimezone(UTC)

    def _size(self, name: str) -> int | None:
        with self._plain_words("read"):
            try:
                if self.storage.exists(name):
                    return self.storage.size(name)
            except FileNotFoundError:
                pass
        self._listdir(self.prefix)  # an unreachable storage must not look as if the object were missing
        return None

    def _delete(self, name: str) -> None:
        with self._plain_words("delete from"), suppress(FileNotFoundError):
            self.storage.delete(name)

    def _discard(self, name: str) -> None:
        """Remove what a failed write left, as far as the storage still listens."""
        with suppress(Exception):
            self.storage.delete(name)

    def _require_name(self, name: str, written: str) -> None:
        if written != name:
            raise self._broken_promise(f"renames what it saves ({name} became {written})")

    def _broken_promise(self, what: str) -> StorageError:
        return StorageError(
            f"{self.describe()} {what}.",
            unchanged="What it stored was removed.",
            hint=f"Use a storage in {SETTING} that stores a stream of unknown length under the name given.",
        )

    @contextmanager
    def _plain_words(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (StorageError, IntegrityError):
            raise
        except Exception as error:
            # Not the text of the exception: storages put addresses with passwords into theirs.
            reason = error.strerror if isinstance(error, OSError) else None
            raise StorageError(
                f"Cannot {doing} {self.describe()}: {reason or type(error).__name__}.",
                hint=f"Check {SETTING} and try the same storage from manage.py shell.",
            ) from error


class _Source:
    """Watches the blocks on their way into a storage that may swallow or rename what they raise."""

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
    """A location may be an address with a password: keep host and path."""
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
