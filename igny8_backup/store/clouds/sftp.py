"""The store for SFTP, through django-storages' ``SFTPStorage``."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Protocol, cast

from django.core.files.base import ContentFile
from django.core.files.storage import Storage

from igny8_backup.errors import StorageError
from igny8_backup.store.generic import GenericStore
from igny8_backup.store.objects import UnreachableError, exists_error, incomplete_error
from igny8_backup.store.pieces import crc_of, write_in_pieces
from igny8_backup.store.retry import Retry
from igny8_backup.streams import BLOCK, Blocks

ANSWER_SECONDS = 60.0
"""Longest time in seconds to wait for an answer of the server; ``SFTPStorage`` would wait for ever."""
CONNECT_SECONDS = {"timeout": 10, "banner_timeout": 15, "auth_timeout": 15, "channel_timeout": 15}
"""Limits for the steps of a connection, unless the ``params`` of the storage set others."""

CLOSE_SECONDS = 5.0
"""Seconds to wait for the thread of a connection that was closed."""


class SFTPStorage(Protocol):
    """The part of ``storages.backends.sftpstorage.SFTPStorage`` that ``SftpStore`` uses."""

    params: dict[str, Any]
    file_mode: int | None
    _ssh: Any
    _sftp: Any

    @property
    def sftp(self) -> Any: ...
    def close(self) -> None: ...
    def _remote_path(self, name: str) -> str: ...


class SftpStore(GenericStore):
    """A store on an SFTP server.

    The ``SFTPStorage`` of django-storages ignores every error of a deletion, and cannot be used again once it
    was closed or its connection broke. So this store deletes files itself, and makes the ``SFTPStorage``
    connect again.
    """

    def __init__(self, storage: SFTPStorage, prefix: str, retry: Retry | None = None) -> None:
        super().__init__(cast("Storage", storage), prefix, retry)
        self._server = storage
        self._answer_seconds = min(ANSWER_SECONDS, self.retry.answer_seconds)
        storage.params = {**CONNECT_SECONDS, **storage.params}

    def close(self) -> None:
        """Close the connection. The storage connects again when needed."""
        with suppress(Exception):  # of a connection that broke
            transport = self._server._ssh.get_transport()
            self._server.close()
            transport.join(CLOSE_SECONDS)
        self._server._ssh = self._server._sftp = None

    def _delete(self, name: str) -> None:
        with self._translated_errors("delete from"), suppress(FileNotFoundError):
            self._server.sftp.remove(self._server._remote_path(name))

    def _put(self, name: str, blocks: Blocks, estimate: int | None, claimed: bool) -> None:
        begun = False

        def begin() -> None:
            nonlocal begun
            # An attempt whose answer was lost may have created the empty file.
            if self._size(name) not in ((None, 0) if begun else (None,)):
                raise exists_error(name, self.describe())
            begun = True
            self._create(name)

        self.retry.call(begin)
        file = _RemoteFile(self._server, self._server._remote_path(name))
        try:
            written = write_in_pieces(blocks, partial(self._write, file), self.retry, with_crc=True)
            file.close()
            self.retry.call(lambda: self._set_mode(name, writable=False))
            size = self.retry.call(lambda: self._size(name))
            if size != written.size:
                raise incomplete_error(name, self.describe(), sent=written.size, stored=size or 0)
            # What the server confirmed before the connection broke need not be on its disk.
            if written.interrupted and crc_of(self.retry.stream(self._open(name))) != written.crc:
                raise incomplete_error(name, self.describe(), sent=written.size)
        except BaseException:
            file.close()
            self._discard(name)
            raise

    def _create(self, name: str) -> None:
        """Create an empty file and its folders, with the modes and owners in the storage's settings."""
        with self._translated_errors("write"):
            written = self.storage.save(name, ContentFile(b""))
        if written != name:
            self._discard(written)
        self._require_name(name, written)
        self._set_mode(name, writable=True)

    def _set_mode(self, name: str, *, writable: bool) -> None:
        """Make a file writable for this user; without ``writable``, set the mode that the settings demand.

        Does nothing if the settings of the storage demand no mode, or one with which this user may write.
        """
        mode = self._server.file_mode
        if mode is not None and not mode & stat.S_IWUSR:
            with self._translated_errors("write"):
                path = self._server._remote_path(name)
                self._server.sftp.chmod(path, mode | stat.S_IWUSR if writable else mode)

    def _write(self, file: _RemoteFile, offset: int, data: memoryview) -> None:
        try:
            with self._translated_errors("write"):
                file.write(offset, data)
        except StorageError:
            file.close()
            raise

    def _discard(self, name: str) -> None:
        with suppress(StorageError):  # the server does not answer; without a manifest the file is an orphan
            self._delete(name)

    def _translated_errors(self, action: str) -> AbstractContextManager[None]:
        return self._connected(action, super()._translated_errors(action))

    @contextmanager
    def _connected(self, action: str, translated: AbstractContextManager[None]) -> Iterator[None]:
        try:
            with translated:
                self._server.sftp.get_channel().settimeout(self._answer_seconds)
                yield
        except UnreachableError:
            self.close()
            raise
        except StorageError as error:
            if not self._has_lost_connection(error.__cause__):
                raise
            self.close()
            what = f"Cannot {action} {self.describe()}: the connection was closed."
            raise UnreachableError(what, hint=error.parts[2]) from error

    def _has_lost_connection(self, cause: BaseException | None) -> bool:
        """Return whether ``cause`` shows that the connection is closed.

        In this case paramiko raises an ``OSError`` without an error number.
        """
        if not isinstance(cause, OSError) or cause.errno is not None or self._server._sftp is None:
            return False
        return bool(self._server._sftp.get_channel().closed)


class _RemoteFile:
    """An existing file on the server, which is opened again after a failure."""

    def __init__(self, server: SFTPStorage, path: str) -> None:
        self._server = server
        self._path = path
        self._file: Any = None

    def write(self, offset: int, data: memoryview) -> None:
        """Write ``data`` at ``offset``, and return when the server has confirmed all of it."""
        if self._file is None:
            self._file = self._server.sftp.open(self._path, "r+b")
        if not data:
            return
        self._file.seek(offset)
        self._file.set_pipelined(True)
        for start in range(0, len(data) - 1, BLOCK):
            self._file.write(bytes(data[start : min(start + BLOCK, len(data) - 1)]))
        # A request that is not pipelined waits for the answers to all requests before it.
        self._file.set_pipelined(False)
        self._file.write(bytes(data[-1:]))

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(Exception):  # of a connection that broke
                file.close()
