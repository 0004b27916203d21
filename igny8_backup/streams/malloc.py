"""Limit the memory that the C library keeps for threads.

glibc gives each thread an arena of its own, and memory freed in one arena is not available to another. The
threads of this package and of libzstd, which are started for every object, would leave many large arenas.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h of glibc
_MOST = 2


def share_arenas() -> None:
    """Make all threads of this process share two arenas from now on: see mallopt(3), ``M_ARENA_MAX``.

    Does nothing with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_ARENA_MAX, _MOST)
