"""Memory of this process that the C library keeps for later.

``share_arenas`` and ``return_large_memory`` limit it for the rest of the life of the process, unless the
environment does (``is_configured``). ``release_free_memory`` gives it back.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_LARGE = 2 << 20
"""Memory of at least this many bytes is allocated apart from all other, and given back when it is freed."""


def release_free_memory() -> None:
    """Give freed memory back to the system: malloc_trim(3).

    The C library keeps much of it for later allocations. Call this before a helper process starts that needs
    memory of its own. Does nothing with another C library than glibc.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_configured() -> bool:
    """Return whether environment variables tell the C library how to keep memory, as in mallopt(3)."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name.startswith("MALLOC_") for name in os.environ)


def share_arenas() -> None:
    """Make all threads of this process allocate memory from two arenas: mallopt(3), ``M_ARENA_MAX``.

    By default glibc gives each thread an arena of its own, and memory freed in one arena is not available to
    another. The many short-lived threads of this package and of libzstd would leave many large arenas. Does
    nothing with another C library.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def return_large_memory() -> None:
    """Let the C library give large pieces of memory back to the system when they are freed: mallopt(3).

    By default glibc raises the size from which it does so, up to 32 MiB. Then compressors and packs of
    several MiB leave gaps between small pieces, which took up to 20 MiB of a backup of large files. Blocks of
    streams (1 MiB) are below ``_LARGE``: to return each of them costs time. Does nothing with another C
    library.
    """
    with suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)
