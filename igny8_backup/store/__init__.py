"""Read, write, list and delete backup objects in a Django storage, as streams.

``open_store`` returns the ``Store`` for a Django storage: ``LocalStore`` for a folder, ``S3Store``,
``AzureStore`` and ``GoogleStore`` for a bucket or container, ``SftpStore`` for an SFTP server, and
``GenericStore`` for any other storage. This package imports ``streams``, ``errors`` and Django, and each
client library only in the module of its store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.core.files.storage import FileSystemStorage, Storage

from igny8_backup.errors import StorageError
from igny8_backup.formats.object_lock import ObjectLock
from igny8_backup.store.base import Store
from igny8_backup.store.folder.local import LocalStore
from igny8_backup.store.generic import GenericStore
from igny8_backup.store.kinds import (
    AZURE,
    GOOGLE,
    S3,
    SFTP,
    UNSUITABLE_HINT,
    is_kind,
    why_refused,
    why_unsuitable,
)
from igny8_backup.store.objects import (
    LockedObjectError,
    MissingObjectError,
    ObjectExistsError,
    Stored,
    UnfinishedUpload,
    UnreachableError,
    Version,
)
from igny8_backup.store.retry import Retry

if TYPE_CHECKING:
    from igny8_backup.store.clouds.azure import AzureStorage
    from igny8_backup.store.clouds.google import GoogleStorage
    from igny8_backup.store.clouds.sftp import SFTPStorage
    from igny8_backup.store.s3 import S3Storage

__all__ = [
    "UNSUITABLE_HINT",
    "LockedObjectError",
    "MissingObjectError",
    "Retry",
    "ObjectExistsError",
    "Store",
    "Stored",
    "UnfinishedUpload",
    "UnreachableError",
    "Version",
    "open_store",
    "why_refused",
    "why_unsuitable",
]


def open_store(
    storage: Storage, prefix: str, retry: Retry | None = None, lock: ObjectLock | None = None
) -> Store:
    """Return the store for a Django storage. It keeps all objects in the folder ``prefix`` ("": the root).

    ``retry`` decides how long requests that fail are repeated; without it, they are not repeated. ``lock``
    says how new objects are locked, which only S3 can do.

    ``FileSystemStorage`` itself and django-storages' classes for S3, Azure, Google and SFTP, with their
    subclasses, have stores of their own. Any other storage is used through Django's API, which guarantees
    less: see ``GenericStore``. No request is sent. Raises ``StorageError`` for an invalid prefix or setting,
    and for a storage that cannot hold backups.
    """
    if type(storage) is FileSystemStorage:
        return LocalStore(storage, prefix, retry)
    if is_kind(storage, S3):
        from igny8_backup.store.s3 import S3Store

        return S3Store(cast("S3Storage", storage), prefix, retry, lock)
    if is_kind(storage, AZURE):
        from igny8_backup.store.clouds.azure import AzureStore

        return AzureStore(cast("AzureStorage", storage), prefix, retry)
    if is_kind(storage, GOOGLE):
        from igny8_backup.store.clouds.google import GoogleStore

        return GoogleStore(cast("GoogleStorage", storage), prefix, retry)
    if is_kind(storage, SFTP):
        from igny8_backup.store.clouds.sftp import SftpStore

        return SftpStore(cast("SFTPStorage", storage), prefix, retry)
    if reason := why_unsuitable(storage):
        raise StorageError(reason, unchanged="Nothing was read or written.", hint=UNSUITABLE_HINT)
    return GenericStore(storage, prefix, retry)
