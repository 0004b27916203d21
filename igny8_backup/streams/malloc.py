"""The memory that the C library keeps for threads.

glibc gives threads arenas of their own, and what is freed in one is there for no other. Threads that come and
go with every object, ours and libzstd's, leave each arena as large as what was largest in it.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h of glibc
_MOST = 2


def share_arenas() -> None:
    """Have all threads of this process, from now on, share two arenas: see mallopt(3), ``M_ARENA_MAX``.

    Does nothing with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_ARENA_MAX, _MOST)
