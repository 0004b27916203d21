"""Find out whether a single object cannot be read, or the whole storage cannot be used."""

from __future__ import annotations

from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.store import Store


def of_one_object(store: Store, error: StorageError) -> str:
    """Return the message of ``error``, which occurred when one object was read, if the storage itself works.

    Raises ``error`` if the storage cannot be used at all, so that the error is not blamed on the object.
    """
    try:
        store.exists(keys.MARKS)
    except StorageError:
        raise error from None
    return str(error)
