"""Where backups are kept: a Django storage seen as put(stream), open(stream), list and delete."""

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
    """Give the store for a Django storage, with everything under ``prefix`` ("" for its root).

    A plain ``FileSystemStorage`` and django-storages' ``S3Storage`` (with its subclasses) are driven
    directly; any other storage through Django's API, which promises less: see ``GenericStore``.
    Nothing is contacted here. Raises StorageError for a prefix that cannot be one or a broken S3 setting.
    """
    if type(storage) is FileSystemStorage:
        return LocalStore(storage, prefix)
    if _is_s3(storage):
        from igny8_backup.store.s3 import S3Store

        return S3Store(storage, prefix)
    return GenericStore(storage, prefix)


def _is_s3(storage: object) -> TypeGuard[S3Storage]:
    """boto3 is optional: a storage can be of this class only if its module has been imported already."""
    module = sys.modules.get("storages.backends.s3")
    return module is not None and isinstance(storage, module.S3Storage)
