"""Which objects of a storage are documents: small objects that many operations read."""

from __future__ import annotations

from igny8_backup.formats import keys
from igny8_backup.store import Stored

FOLDERS = (keys.PACKS, keys.CHECKS, keys.REMOVED, keys.RUNS, keys.BACKUPS)
"""The folders of a storage, in the order in which they are listed."""
LARGEST = 1 << 20
"""The size in bytes of the largest document that is read ahead and kept in ``STATE_DIR``."""


def is_document(key: str) -> bool:
    """Return whether the object ``key`` is a document, such as a manifest, a run record or a signature."""
    return key.startswith(FOLDERS) and key.endswith((".json", ".sig"))


def is_small(item: Stored) -> bool:
    """Return whether ``item`` is a document that can be kept: it has a tag, and at most ``LARGEST`` bytes."""
    return bool(item.tag) and item.size <= LARGEST and is_document(item.key)
