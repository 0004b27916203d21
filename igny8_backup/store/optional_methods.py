"""Methods of ``Store`` that only some storages support.

``OptionalMethods`` implements each for a storage that lacks the feature.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from igny8_backup.store.objects import Protection, Stored, UnfinishedUpload, Version
from igny8_backup.streams import Blocks
from igny8_backup.streams.rate import UNLIMITED, RateLimit


class OptionalMethods:
    """What a store can do, and methods for reading ahead, versions, locks, public access and local paths."""

    parallel_streams = False
    """Whether several threads may call ``open`` and ``put`` at the same time. Other methods must not run in
    parallel, except those of ``parallel_lists``."""

    parallel_lists = False
    """Whether several threads may call ``list``, ``list_level`` and ``list_page`` at the same time."""

    readers = 8
    """How many threads may read small objects at the same time, if ``parallel_streams`` allows threads."""

    rate: RateLimit = UNLIMITED
    """The limit of the bytes per second that are sent. The store does not apply it: code that sends a large
    object passes the stream through ``rate.pace``."""

    streams_again = False
    """Whether ``_put`` itself repeats the requests that send a stream."""

    def prefetch(self, keys: Iterable[str], *, signatures: bool = False) -> None:
        """Read small objects ahead, side by side, if this store keeps what it has read.

        With ``signatures``, the signatures in the folders of these objects are read ahead too. An object that
        cannot be read is left out; reading it later raises the error.
        """
        return

    def list_level(self, prefix: str) -> tuple[list[Stored], list[str]]:
        """Return the objects directly in the folder ``prefix``, and the names of the folders in it.

        Only stores with ``parallel_lists`` have this method. Raises ``StorageError``.
        """
        raise NotImplementedError(prefix)

    def list_page(self, prefix: str, after: str) -> tuple[list[Stored], str] | None:
        """Return some of the objects in the folder ``prefix`` and its subfolders: those that come first.

        Only keys greater than ``after`` count. The result has the objects, sorted by key, and the key after
        which further objects follow; empty if there are none. ``None``: this server lists keys in another
        order. Only stores with ``parallel_lists`` have this method. Raises ``StorageError``.
        """
        raise NotImplementedError(prefix, after)

    def abandoned_uploads(self) -> list[UnfinishedUpload]:
        """Return the unfinished multipart uploads, including those that another process still performs."""
        return []

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Abort an unfinished upload, which frees its space. A missing upload is no error."""
        return

    def public_access(self) -> str:
        """Return why everybody can read the objects, or ``""`` if access is restricted or unknown.

        Raises ``UnreachableError``.
        """
        return ""

    def local_path(self) -> Path | None:
        """Return the folder that contains all objects, or ``None`` if the storage is not a local folder."""
        return None

    def versions(self, key: str) -> list[Version]:
        """Return the versions of the object ``key``, newest first, with the markers of deletions.

        The list is empty if the storage keeps no versions, or does not let this user list them. Raises
        ``UnreachableError``.
        """
        return []

    def hidden(self, prefix: str) -> dict[str, list[Version]]:
        """Return the versions that the storage still keeps of each deleted object in the folder ``prefix``.

        The result maps the key of each object to its versions, newest first. It is empty if the storage keeps
        no versions, or does not let this user list them. Raises ``UnreachableError``.
        """
        return {}

    def open_version(self, key: str, version: Version) -> Blocks:
        """Yield the content of a version that ``versions`` returned. Raises the errors of ``Store.open``."""
        raise NotImplementedError(key, version)

    def locked_until(self, key: str) -> datetime | None:
        """Return when the lock of the object ``key`` ends (UTC), or ``None`` if it is missing or not locked.

        A lock without an end is returned as ``datetime.max``. Raises ``StorageError``.
        """
        return None

    def extend_lock(self, key: str, until: datetime, *, version: Version | None = None) -> None:
        """Lock an object, or one ``version`` of it, until the time ``until``. Raises ``StorageError``."""
        raise NotImplementedError(key, until, version)

    def copy_from(self, source: OptionalMethods, key: str, size: int, version: Version | None) -> str | None:
        """Let the server copy the object ``key`` of ``size`` bytes from the store ``source`` to this one.

        ``version`` is the version to copy, ``None`` for the current one. Returns the SHA-256 that the server
        has computed, in hexadecimal digits, or ``""`` if it has computed none. Returns ``None``, and copies
        nothing, unless both stores are on one server and that server can copy the object. Raises
        ``StorageError``, and ``ObjectExistsError`` if this store already has an object ``key``.
        """
        return None

    def protection(self) -> Protection | None:
        """Return how the storage protects its objects, or ``None`` if the storage is not S3.

        Raises ``UnreachableError``.
        """
        return None
