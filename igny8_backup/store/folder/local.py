"""The store for a folder on this machine, local or mounted.

Django's ``FileSystemStorage`` writes directly to the final path. This store writes
``<name>.<random>.partial``, calls fsync after each piece, and then gives the file its final name, without
replacing an existing file. A crash leaves a ``.partial`` file, which ``list`` yields. Files have mode 0600,
new folders 0700.
"""

from __future__ import annotations

import builtins
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from django.core.files.storage import FileSystemStorage

from igny8_backup.common.filesystem import sync_folder
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import Store
from igny8_backup.store.folder.durable import PartialFile, give_name
from igny8_backup.store.folder.errors import translated_errors
from igny8_backup.store.folder.regular_file import open_regular
from igny8_backup.store.objects import SETTING, Stored, UnreachableError, exists_error, missing_error
from igny8_backup.store.pieces import write_in_pieces
from igny8_backup.store.retry import Retry
from igny8_backup.streams import BLOCK, Blocks

OTHER_WRITER = "Find out what else writes into that folder, and use another backup."


class LocalStore(Store):
    """A store whose objects are files below the location of a ``FileSystemStorage``.

    Symbolic links that lead out of the location are refused. If the location is missing, writing creates it,
    but reading and listing raise ``StorageError``, because perhaps its disk is not mounted.
    """

    parallel_streams = True
    streams_again = True

    def __init__(self, storage: FileSystemStorage, prefix: str, retry: Retry | None = None) -> None:
        super().__init__(prefix, retry)
        self.root = Path(storage.location)

    def identity(self) -> str:
        return f"file://{os.path.realpath(self.root)}/{self.prefix}"

    def describe(self) -> str:
        return f"the folder {self.local_path()}"

    def local_path(self) -> Path:
        return self.root / self.prefix

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        final = self._path(name)
        if os.path.lexists(final):
            raise exists_error(name, self.describe())
        file = self.retry.call(lambda: self._new_file(final))
        try:
            write_in_pieces(blocks, partial(self._write, file), self.retry)
            try:
                self.retry.call(lambda: self._give_name(file, final, name))
            except BaseException:
                # An interrupt may arrive before a flag could be set, so compare the files themselves.
                with suppress(OSError):
                    if file.is_named(final):
                        final.unlink()
                raise
        finally:
            file.remove()

    def _new_file(self, final: Path) -> PartialFile:
        with translated_errors(self.root, "write"):
            return PartialFile(final)

    def _write(self, file: PartialFile, offset: int, data: memoryview) -> None:
        with translated_errors(self.root, "write"):
            if not file.write(offset, data):
                what = f"{file.path} has lost bytes that were on disk already."
                raise IntegrityError(what, hint="Check the disk and its mount, then run the backup again.")

    def _give_name(self, file: PartialFile, final: Path, name: str) -> None:
        with translated_errors(self.root, "write"):
            if not file.is_named(final):  # by an attempt before this one
                try:
                    give_name(file.path, final)
                except FileExistsError:
                    raise exists_error(name, self.describe()) from None
            sync_folder(final.parent)

    def _put_small(self, name: str, data: bytes) -> None:
        final = self._path(name)
        file = self._new_file(final)
        try:
            self._write(file, 0, memoryview(data))
            with translated_errors(self.root, "write"):
                file.path.replace(final)
                sync_folder(final.parent)
        finally:
            file.remove()

    def _open(self, name: str) -> Callable[[int], Blocks]:
        seen: list[tuple[int, int]] = []

        def read(offset: int) -> Blocks:
            path = self._path(name)
            descriptor = self._descriptor(path, name)
            try:
                with translated_errors(self.root, "read"):
                    found = os.fstat(descriptor)
                    os.lseek(descriptor, offset, os.SEEK_SET)
                seen.append((found.st_size, found.st_mtime_ns))
                if seen[-1] != seen[0]:
                    raise IntegrityError(f"{path} was changed while it was read.", hint=OTHER_WRITER)
                left = found.st_size - offset
                while left > 0:
                    with translated_errors(self.root, "read"):
                        block = os.read(descriptor, min(BLOCK, left))
                    if not block:
                        what = f"{path} became {left} bytes shorter while it was read."
                        raise IntegrityError(what, hint=OTHER_WRITER)
                    left -= len(block)
                    yield block
            finally:
                os.close(descriptor)

        return read

    def _descriptor(self, path: Path, name: str) -> int:
        with translated_errors(self.root, "read"):
            try:
                return open_regular(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._require_root()
                raise missing_error(name, self.describe()) from None

    def list(self, prefix: str = "", unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
        folder = self._folder(prefix)
        for stored in self.retry.call(lambda: [*self._list(folder, unlisted)]):
            yield stored.renamed(stored.key[len(self.prefix) :])

    def _list(self, folder: str, unlisted: dict[str, str] | None = None) -> Iterator[Stored]:
        self._require_root()
        # Not recursive: folders may be nested deeply. Below the first path no link is followed.
        open_folders = [iter(self._entries(folder, self._path(folder)))]
        while open_folders:
            entry, key = next(open_folders[-1], (None, ""))
            if entry is None:
                open_folders.pop()
                continue
            if key.endswith("/"):
                try:
                    open_folders.append(iter(self._entries(key, entry.path)))
                except StorageError as error:
                    if unlisted is None or isinstance(error, UnreachableError):
                        raise
                    unlisted[key[len(self.prefix) :]] = str(error)
                continue
            with translated_errors(self.root, "list"):
                try:
                    file = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # finished or deleted since the folder was read
                    continue
            yield Stored(key, file.st_size, datetime.fromtimestamp(file.st_mtime, UTC), "", file.st_mtime_ns)

    def _list_dirs(self, folder: str) -> builtins.list[str]:
        self._require_root()
        return [
            entry.name
            for entry, key in self._entries(folder, self._path(folder))
            if key.endswith("/") and self._holds_any(key)
        ]

    def _holds_any(self, folder: str) -> bool:
        """Return whether ``folder`` contains an object, or cannot be listed."""
        try:
            return any(self._list(folder))
        except UnreachableError:
            raise
        except StorageError:
            return True

    def _entries(self, folder: str, path: str | Path) -> builtins.list[tuple[os.DirEntry[str], str]]:
        """Return the entries of the folder ``path``, each with its name in the store, sorted by name.

        ``folder`` is the beginning of these names. Names of folders end with a slash.
        """
        with translated_errors(self.root, "list"):
            try:
                with os.scandir(path) as scan:
                    entries = [
                        (entry, folder + entry.name + "/" * entry.is_dir(follow_symlinks=False))
                        for entry in scan
                    ]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(entries, key=lambda pair: pair[1])

    def _size(self, name: str) -> int | None:
        with translated_errors(self.root, "read"):
            try:
                found = os.lstat(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return None
        return None if stat.S_ISDIR(found.st_mode) else found.st_size

    def _delete(self, name: str) -> None:
        path = self._path(name)
        with translated_errors(self.root, "delete from"):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return
            # A manifest is deleted first, then its objects. A crash must not change that order.
            with suppress(FileNotFoundError):  # another run has removed the folder, because it was empty
                sync_folder(path.parent)
        # Object storage has no empty folders, so a local folder has none either.
        with suppress(OSError):
            for folder in path.parents:
                if self.local_path() not in folder.parents:
                    break
                folder.rmdir()

    def _path(self, name: str) -> Path:
        """Return the path of the object ``name``. Raises ``StorageError`` if it is outside the location."""
        path = self.root / name
        folder = path.parent if name and not name.endswith("/") else path
        root = os.path.realpath(self.root)
        if os.path.commonpath([root, os.path.realpath(folder)]) != root:
            raise StorageError(
                f"A symbolic link leads {folder} out of {root}.",
                unchanged="The link was not followed.",
                hint=f'Mount or move its target there instead, or set "location" in {SETTING} to the target.',
            )
        return path

    def _require_root(self) -> None:
        if not os.path.isdir(self.root):
            raise StorageError(
                f"The folder {self.root} does not exist or cannot be entered.",
                hint=f'Mount it, or create it with mkdir -m 700, or correct "location" in {SETTING}.',
            )
