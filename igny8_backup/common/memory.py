"""Memory of this process that the C library keeps for later: :func:`release_free_memory`."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def release_free_memory() -> None:
    """Give freed memory back to the system: malloc_trim(3).

    The C library keeps much of it for later allocations. Call this before a helper process starts that needs
    memory of its own. Does nothing with another C library than glibc.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
