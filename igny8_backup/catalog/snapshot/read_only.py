"""A store that can only be read: each method asks another store."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from igny8_backup.store import Store, Stored, UnfinishedUpload, Version
from igny8_backup.store.objects import Protection
from igny8_backup.streams import Blocks


class ReadOnlyStore(Store):
    """A read-only view of the store ``current``. Methods that would write raise ``NotImplementedError``."""

    def __init__(self, current: Store) -> None:
        super().__init__(current.prefix, current.retry)
        self.current = current
        self.parallel_streams = current.parallel_streams
        self._hidden: dict[str, dict[str, list[Version]]] = {}

    def exists(self, key: str) -> bool:
        return self.current.exists(key)

    def size(self, key: str) -> int:
        return self.current.size(key)

    def identity(self) -> str:
        return self.current.identity()

    def describe(self) -> str:
        return self.current.describe()

    def as_of(self, moment: datetime) -> Store:
        return self.current.as_of(moment)

    def abandoned_uploads(self) -> builtins.list[UnfinishedUpload]:
        return self.current.abandoned_uploads()

    def public_access(self) -> str:
        return self.current.public_access()

    def local_path(self) -> Path | None:
        return self.current.local_path()

    def versions(self, key: str) -> builtins.list[Version]:
        return self.current.versions(key)

    def hidden(self, prefix: str) -> dict[str, builtins.list[Version]]:
        if prefix not in self._hidden:
            self._hidden[prefix] = self.current.hidden(prefix)
        return self._hidden[prefix]

    def open_version(self, key: str, version: Version) -> Blocks:
        return self.current.open_version(key, version)

    def locked_until(self, key: str) -> datetime | None:
        return self.current.locked_until(key)

    def protection(self) -> Protection | None:
        return self.current.protection()

    def _open(self, name: str) -> Callable[[int], Blocks]:
        return self.current._open(name)

    def _list(self, folder: str) -> Iterator[Stored]:
        return self.current._list(folder)

    def _list_dirs(self, folder: str) -> builtins.list[str]:
        return self.current._list_dirs(folder)

    def _size(self, name: str) -> int | None:
        return self.current._size(name)

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        raise NotImplementedError(name)

    def _put_small(self, name: str, data: bytes) -> None:
        raise NotImplementedError(name)

    def _delete(self, name: str) -> None:
        raise NotImplementedError(name)
