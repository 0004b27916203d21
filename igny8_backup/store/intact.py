"""Find the intact version of an object that somebody overwrote or deleted in a bucket that keeps versions."""

from __future__ import annotations

from collections.abc import Callable

from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.store.base import Store
from igny8_backup.store.objects import MissingObjectError, UnreachableError, Version
from igny8_backup.streams import Blocks
from igny8_backup.streams.observe import verified


def find_intact(store: Store, key: str, *, sha256: str, size: int) -> Version | None:
    """Return the version of the object ``key`` that has the content that a backup wrote.

    ``sha256`` (hexadecimal) and ``size`` (bytes) are those of this content. The versions of this size are
    read, the oldest first, until one has the digest. Returns ``None`` if none has it. Usually the object has
    only one version; then nothing is read, and ``None`` is returned too. After ``None``, the caller reads the
    current version. Raises ``UnreachableError``.
    """
    versions = store.versions(key)
    if len(versions) < 2:
        return None
    fitting = [item for item in reversed(versions) if item.size == size]
    return next((item for item in fitting if _is_intact(store, key, item, sha256, size)), None)


def open_intact(
    store: Store, key: str, sha256: str, size: int, note: Callable[[str], None]
) -> Callable[[], Blocks]:
    """Return a function that yields the content of ``key``, from the version that :func:`find_intact` finds.

    ``note`` receives a sentence if that version is not the current one. Each call of the function reads the
    object once more.
    """
    found: list[Version | None] = []

    def read() -> Blocks:
        if not found:
            found.append(find_intact(store, key, sha256=sha256, size=size))
            if found[0] and not found[0].current:
                note(
                    f"WARNING: {key} was overwritten or deleted in the storage. Its intact version of"
                    f" {found[0].modified.isoformat(timespec='seconds')} is read instead."
                )
        yield from store.open_version(key, found[0]) if found[0] else store.open(key)

    return read


def size_with_versions(store: Store, key: str, expected: int) -> int:
    """Return the size of an object in bytes, or ``expected`` if an older version of it has that size.

    Raises ``MissingObjectError`` if there is neither a current version nor one of the ``expected`` size, and
    ``StorageError`` if the storage fails.
    """
    missing: MissingObjectError | None = None
    size = -1
    try:
        size = store.size(key)
    except MissingObjectError as error:
        missing = error
    if size != expected and any(item.size == expected for item in store.versions(key)):
        return expected
    if missing:
        raise missing
    return size


def _is_intact(store: Store, key: str, version: Version, sha256: str, size: int) -> bool:
    try:
        for _ in verified(store.open_version(key, version), sha256=sha256, size=size, name=key):
            pass
    except UnreachableError:
        raise
    except (StorageError, IntegrityError):
        return False
    return True
