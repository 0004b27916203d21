"""Let Python look for garbage less often while many objects are made that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OBJECTS = 20_000
"""So many new objects, not 700, make Python look for unused ones. Looking took a fifth of the time of reading
3,000 backups."""


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Raise the threshold of the garbage collector for the ``with`` block, if it is lower and not 0 (off)."""
    before = gc.get_threshold()
    if 0 < before[0] < NEW_OBJECTS:
        gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
