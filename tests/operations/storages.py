"""Django storages that fail on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from signal import SIGINT, pthread_kill
from threading import Event, RLock, main_thread
from typing import Any

from django.core.files.storage import FileSystemStorage

from igny8_backup.streams.stop import Stop


class FailsToDelete(FileSystemStorage):
    """Refuses to delete after a number of deletions."""

    left: int | None = None
    """How many deletions are still allowed; ``None`` for any number."""

    def delete(self, name: str) -> Any:
        kind = type(self)
        if kind.left == 0:
            raise PermissionError(13, "Permission denied")
        if kind.left is not None:
            kind.left -= 1
        return super().delete(name)


class KeepsManifests(FileSystemStorage):
    """Answers that a manifest was deleted, and keeps it."""

    def delete(self, name: str) -> Any:
        return None if name.endswith("manifest.json") else super().delete(name)


class OneThreadOnly(FileSystemStorage):
    """An object of this class must not be used by two threads at the same time, like one SFTP connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._user = RLock()

    def save(self, *args: Any, **options: Any) -> str:
        with self._alone():
            return super().save(*args, **options)

    def open(self, *args: Any, **options: Any) -> Any:
        file = super().open(*args, **options)
        alone = ExitStack()
        alone.enter_context(self._alone())
        alone.callback(file.close)
        file.close = alone.close  # type: ignore[method-assign]  # the file is closed once
        return file

    def exists(self, name: str) -> bool:
        with self._alone():
            return super().exists(name)

    def delete(self, name: str) -> Any:
        with self._alone():
            return super().delete(name)

    def size(self, name: str) -> int:
        with self._alone():
            return super().size(name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._user.acquire(blocking=False):
            raise RuntimeError("two threads use one connection")
        try:
            yield
        finally:
            self._user.release()


class Blocked(FileSystemStorage):
    """Stores packs of chunks only once ``until`` is set."""

    until: Event

    def save(self, name: str | None, *args: Any, **options: Any) -> str:
        if ".chunks." in str(name):
            assert type(self).until.wait(60)
        return super().save(name, *args, **options)


class Interrupts(FileSystemStorage):
    """Interrupts the main thread when the first pack of chunks is stored, and stores it once ``stopped``."""

    stopped: Stop
    names: list[str]

    def save(self, name: str | None, *args: Any, **options: Any) -> str:
        if ".chunks." in str(name):
            type(self).names.append(str(name))
            if len(self.names) == 1:
                pthread_kill(main_thread().ident or 0, SIGINT)
                self.stopped.wait(10)
        return super().save(name, *args, **options)
