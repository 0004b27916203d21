"""The store for a folder on this machine, local or mounted.

Django's ``FileSystemStorage`` writes directly to the final path. This store writes
``<name>.<random>.partial``, calls fsync, and then gives the file its final name, without replacing an
existing file. A crash leaves a ``.partial`` file, which ``list`` yields. Files have mode 0600, new folders
0700.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from django.core.files.storage import FileSystemStorage

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.filesystem import sync, sync_folder, write_all
from igny8_backup.store.base import SETTING, Store, Stored, exists_error, missing_error
from igny8_backup.store.durable import begin_to_disk, give_name, new_partial
from igny8_backup.streams import BLOCK, Blocks

FULL = {errno.ENOSPC, errno.EDQUOT}

AT_ONCE = 16 << 20
"""After this many bytes of a stream the kernel is asked to start writing them to disk."""


class LocalStore(Store):
    """A store whose objects are files below the location of a ``FileSystemStorage``.

    Symbolic links that lead out of the location are refused. Writing creates a missing location; reading and
    listing raise ``StorageError`` instead, because the disk may not be mounted.
    """

    parallel_reads = True

    def __init__(self, storage: FileSystemStorage, prefix: str) -> None:
        super().__init__(prefix)
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
        with self._partial(final) as (descriptor, partial):
            written = begun = 0
            for block in blocks:
                with self._translated_errors("write"):
                    write_all(descriptor, block)
                written += len(block)
                if written - begun >= AT_ONCE:
                    begin_to_disk(descriptor, begun, written - begun)
                    begun = written
            try:
                with self._translated_errors("write"):
                    sync(descriptor)
                    try:
                        give_name(partial, final)
                    except FileExistsError:
                        raise exists_error(name, self.describe()) from None
                    sync_folder(final.parent)
            except BaseException:
                # An interrupt may arrive before a flag could be set, so compare the files themselves.
                with suppress(OSError):
                    if os.path.samestat(os.fstat(descriptor), os.lstat(final)):
                        final.unlink()
                raise

    def _put_small(self, name: str, data: bytes) -> None:
        final = self._path(name)
        with self._partial(final) as (descriptor, partial), self._translated_errors("write"):
            write_all(descriptor, data)
            sync(descriptor)
            partial.replace(final)
            sync_folder(final.parent)

    def _open(self, name: str) -> Blocks:
        path = self._path(name)
        with self._translated_errors("read"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                raise missing_error(name, self.describe()) from None
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                raise missing_error(name, self.describe())
            left = found.st_size
            while left > 0:
                with self._translated_errors("read"):
                    block = os.read(descriptor, min(BLOCK, left))
                if not block:
                    raise IntegrityError(
                        f"{path} became {left} bytes shorter while it was read.",
                        hint="Find out what else writes into that folder, and use another backup.",
                    )
                left -= len(block)
                yield block
        finally:
            os.close(descriptor)

    def _list(self, folder: str) -> Iterator[Stored]:
        self._require_root()
        for entry, key in self._entries(folder):
            if key.endswith("/"):
                yield from self._list(key)
                continue
            with self._translated_errors("list"):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # finished or deleted since the folder was read
                    continue
            yield Stored(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _list_dirs(self, folder: str) -> list[str]:
        self._require_root()
        return [
            entry.name for entry, key in self._entries(folder) if key.endswith("/") and any(self._list(key))
        ]

    def _entries(self, folder: str) -> list[tuple[os.DirEntry[str], str]]:
        """Return the entries of a folder with their names, sorted. Names of folders end with a slash."""
        with self._translated_errors("list"):
            try:
                with os.scandir(self._path(folder)) as scan:
                    entries = [
                        (entry, folder + entry.name + "/" * entry.is_dir(follow_symlinks=False))
                        for entry in scan
                    ]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(entries, key=lambda pair: pair[1])

    def _size(self, name: str) -> int | None:
        with self._translated_errors("read"):
            try:
                found = os.lstat(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return None
        return None if stat.S_ISDIR(found.st_mode) else found.st_size

    def _delete(self, name: str) -> None:
        path = self._path(name)
        with self._translated_errors("delete from"):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return
            # A manifest is deleted first, then its objects. A crash must not change that order.
            sync_folder(path.parent)
        # Object storage has no empty folders, so a local folder has none either.
        top = self.local_path()
        with suppress(OSError):
            for folder in path.parents:
                if top not in folder.parents:
                    break
                folder.rmdir()

    def _path(self, name: str) -> Path:
        """Return the path of ``name``. Raises ``StorageError`` if it is outside the location."""
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

    @contextmanager
    def _partial(self, final: Path) -> Iterator[tuple[int, Path]]:
        """Yield descriptor and path of a new file next to ``final``; remove that path afterwards."""
        with self._translated_errors("write"):
            descriptor, partial = new_partial(final)
        try:
            yield descriptor, partial
        finally:
            os.close(descriptor)
            with suppress(OSError):  # renamed, or the disk is gone
                partial.unlink()

    @contextmanager
    def _translated_errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                what = f"No space is left in the folder {self.root}."
                hint = "Free space there, or delete backups that are no longer needed."
            elif isinstance(error, PermissionError):
                what = f"The user of this process may not {action} {error.filename or self.root}."
                hint = f"Make the user of the application its owner: chown -R APPUSER {self.root}."
            else:
                what = f"Cannot {action} {error.filename or self.root}: {error.strerror}."
                hint = "Check the disk, the mount and the limits of this process (ulimit -f)."
            raise StorageError(what, hint=hint) from error
