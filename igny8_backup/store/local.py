"""A folder of this machine, or one mounted into it.

Django's own ``FileSystemStorage`` writes the final path directly and with the umask's permissions. Here an
object is written beside its final name as ``<name>.<random>.partial``, forced to disk, and only then given
its name, without replacing anything: a crash leaves a ``.partial``, which listings show as it is. Files are
0600 and new folders 0700, because backups are nobody else's business even when encrypted.
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
from igny8_backup.store.base import SETTING, Store, Stored
from igny8_backup.store.durable import begin_to_disk, give_name, new_partial, sync_folder, write_all
from igny8_backup.streams import BLOCK, Blocks

FULL = {errno.ENOSPC, errno.EDQUOT}

AT_ONCE = 16 << 20
"""Bytes that the disk is given to write at a time, while more come."""


class LocalStore(Store):
    """Objects are files under the storage's location. Symbolic links never lead out of it.

    Writing makes the location when it does not exist; reading and listing then fail, because a folder that
    is not there may be a disk that is not mounted.
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
            raise self._taken(name)
        with self._partial(final) as (descriptor, partial):
            written = begun = 0
            for block in blocks:
                with self._plain_words("write"):
                    write_all(descriptor, block)
                written += len(block)
                if written - begun >= AT_ONCE:
                    begin_to_disk(descriptor, begun, written - begun)
                    begun = written
            try:
                with self._plain_words("write"):
                    os.fsync(descriptor)
                    try:
                        give_name(partial, final)
                    except FileExistsError:
                        raise self._taken(name) from None
                    sync_folder(final.parent)
            except BaseException:
                # Asked of the disk, because an interrupt may come between the naming and any note of it.
                with suppress(OSError):
                    if os.path.samestat(os.fstat(descriptor), os.lstat(final)):
                        final.unlink()
                raise

    def _put_small(self, name: str, data: bytes) -> None:
        final = self._path(name)
        with self._partial(final) as (descriptor, partial), self._plain_words("write"):
            write_all(descriptor, data)
            os.fsync(descriptor)
            partial.replace(final)
            sync_folder(final.parent)

    def _open(self, name: str) -> Blocks:
        path = self._path(name)
        with self._plain_words("read"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                raise self._missing(name) from None
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                raise self._missing(name)
            left = found.st_size
            while left > 0:
                with self._plain_words("read"):
                    block = os.read(descriptor, min(BLOCK, left))
                if not block:
                    raise IntegrityError(
                        f"{path} became {left} bytes shorter while it was read.",
                        hint="Find out what writes into that folder; restore from another backup.",
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
            with self._plain_words("list"):
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
        """What lies in a folder with its key, in the order of keys: a folder sorts with its slash."""
        with self._plain_words("list"):
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
        with self._plain_words("read"):
            try:
                found = os.lstat(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return None
        return None if stat.S_ISDIR(found.st_mode) else found.st_size

    def _delete(self, name: str) -> None:
        path = self._path(name)
        with self._plain_words("delete from"):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()
                return
            # A manifest is deleted before what it names: that order has to survive a crash.
            sync_folder(path.parent)
        # A folder without objects is no folder, as in any object storage.
        top = self.local_path()
        with suppress(OSError):
            for folder in path.parents:
                if top not in folder.parents:
                    break
                folder.rmdir()

    def _path(self, name: str) -> Path:
        """The path of a name, whose folder must lie inside the location when links are followed."""
        path = self.root / name
        folder = path.parent if name and not name.endswith("/") else path
        root = os.path.realpath(self.root)
        if os.path.commonpath([root, os.path.realpath(folder)]) != root:
            raise StorageError(
                f"A symbolic link leads {folder} out of {root}.",
                unchanged="It was not followed.",
                hint=f"Mount or move the target there instead, or let {SETTING} name it as location.",
            )
        return path

    def _require_root(self) -> None:
        if not os.path.isdir(self.root):
            raise StorageError(
                f"The folder {self.root} does not exist or cannot be entered.",
                hint=f'Mount it, or make it with mkdir -m 700, or correct "location" in {SETTING}.',
            )

    @contextmanager
    def _partial(self, final: Path) -> Iterator[tuple[int, Path]]:
        """A private file beside ``final``, open for writing, gone afterwards unless it was renamed."""
        with self._plain_words("write"):
            descriptor, partial = new_partial(final)
        try:
            yield descriptor, partial
        finally:
            os.close(descriptor)
            with suppress(OSError):  # renamed, or the disk is gone
                partial.unlink()

    @contextmanager
    def _plain_words(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                what = f"No space is left in the folder {self.root}."
                hint = "Free space there, or delete backups that are no longer needed."
            elif isinstance(error, PermissionError):
                what = f"The user of this process may not {doing} {error.filename or self.root}."
                hint = f"Let the user of the application own it: chown -R APPUSER {self.root}."
            else:
                what = f"Cannot {doing} {error.filename or self.root}: {error.strerror}."
                hint = "Check the disk, the mount and the limits of this process (ulimit -f)."
            raise StorageError(what, hint=hint) from error
