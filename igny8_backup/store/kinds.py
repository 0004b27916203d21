"""The classes of django-storages that this package knows, recognized without importing them."""

from __future__ import annotations

import sys

from django.core.files.storage import InMemoryStorage, Storage

from igny8_backup.store.objects import SETTING

Kind = tuple[str, str]
"""The module and the name of a class."""

S3: Kind = ("storages.backends.s3", "S3Storage")
AZURE: Kind = ("storages.backends.azure_storage", "AzureStorage")
GOOGLE: Kind = ("storages.backends.gcloud", "GoogleCloudStorage")
SFTP: Kind = ("storages.backends.sftpstorage", "SFTPStorage")
DROPBOX: Kind = ("storages.backends.dropbox", "DropboxStorage")

UNSUITABLE = {
    DROPBOX: "it needs the size of an object before the object is sent, lists only the first page of a"
    " folder, and takes every error for a missing object"
}
"""Storages that are refused, with the reasons."""
UNSUITABLE_HINT = (
    f'Set {SETTING} to a folder, S3, Azure, Google Cloud Storage or SFTP: see "Store backups in a folder or'
    ' another storage" in the documentation. rclone can copy a folder of backups to other services.'
)


def is_kind(storage: object, kind: Kind) -> bool:
    """Return whether ``storage`` is an instance of the class that ``kind`` names, or of a subclass.

    The library that defines the class may be missing, so it is not imported here. If it is not imported yet,
    no instance can exist.
    """
    module, name = kind
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(storage, found)


def why_unsuitable(storage: Storage) -> str:
    """Return why no backup can be stored in a storage of this kind; empty if no reason is known."""
    for kind, reason in UNSUITABLE.items():
        if is_kind(storage, kind):
            return f"{kind[1]} of django-storages cannot hold backups: {reason}."
    return ""


def why_refused(storage: Storage) -> str:
    """Return why a project must not store its backups in this storage; empty if no reason is known."""
    if type(storage) is InMemoryStorage:
        return (
            "InMemoryStorage keeps objects in the memory of a process. When the process ends, they are gone."
        )
    return why_unsuitable(storage)
