"""Read, write, list and delete backup objects in a Django storage, as streams.

``open_store`` returns the ``Store`` for a Django storage: ``LocalStore`` for a folder, ``S3Store`` for a
bucket, ``GenericStore`` for any other storage. This package imports ``streams``, ``errors`` and Django, and
boto3 only in ``store.s3``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from django.core.files.storage import FileSystemStorage, Storage

from igny8_backup.store.base import (
    MissingObjectError,
    Store,
    Stored,
    UnfinishedUpload,
    UnreachableError,
)
from igny8_backup.store.generic import GenericStore
from igny8_backup.store.local import LocalStore

if TYPE_CHECKING:
    from igny8_backup.store.s3 import S3Storage

__all__ = [
    "MissingObjectError",
    "Store",
    "Stored",
    "UnfinishedUpload",
    "UnreachableError",
    "open_store",
]


def open_store(storage: Storage, prefix: str) -> Store:
    """Return the store for a Django storage. It keeps all objects in the folder ``prefix`` ("": the root).

    ``FileSystemStorage`` itself and django-storages' ``S3Storage`` with its subclasses have stores of their
    own. Any other storage is used through Django's API, which guarantees less: see ``GenericStore``. This
    function sends no request. Raises ``StorageError`` for an invalid prefix or S3 setting.
    """
    if type(storage) is FileSystemStorage:
        return LocalStore(storage, prefix)
    if _is_s3(storage):
        from igny8_backup.store.s3 import S3Store

        return S3Store(storage, prefix)
    return GenericStore(storage, prefix)


def _is_s3(storage: object) -> TypeGuard[S3Storage]:
    """Return whether ``storage`` is an ``S3Storage``, without importing boto3, which is optional.

    An ``S3Storage`` can exist only if its module has been imported.
    """
    module = sys.modules.get("storages.backends.s3")
    return module is not None and isinstance(storage, module.S3Storage)
