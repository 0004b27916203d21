"""Check that a storage lists and returns an object that was written to it.

Some storages of third parties accept every object, but list no objects, or list them under other names. All
backups in such a storage would be lost, although each run succeeds.
"""

from __future__ import annotations

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import Store
from igny8_backup.store.objects import SETTING

PAGE = '"Store backups in a folder or another storage"'


def prove_stored(store: Store, key: str, data: bytes) -> None:
    """Check that the object ``key``, which was just written, is listed with its size and has this content.

    The key must lie in a folder. Raises ``StorageError`` if the storage cannot hold backups,
    ``IntegrityError`` if it returns other bytes.
    """
    top, slash, _ = key.partition("/")
    folder = key.rpartition("/")[0]
    sizes = {item.key: item.size for item in store.list(folder)}
    if not slash or sizes.get(key) != len(data) or top not in store.list_dirs():
        found = f"with {sizes[key]} bytes instead of {len(data)}" if key in sizes else ""
        raise StorageError(
            f"{store.describe()} does not list the object that was just written: {key}"
            f" {found or 'is not in the listing'}.",
            unchanged="No backup was recorded.",
            hint=f"Set {SETTING} to another storage: see {PAGE} in the documentation.",
        )
    if store.read_small(key, limit=len(data) + 1) != data:
        raise IntegrityError(
            f"{store.describe()} returns other bytes than were written to {key}.",
            unchanged="No backup was recorded.",
            hint=f"Set {SETTING} to another storage: see {PAGE} in the documentation.",
        )
