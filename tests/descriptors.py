"""Open file descriptors of the process that runs the tests: their targets, and the free numbers."""

from __future__ import annotations

import contextlib
import gc
import os
import time


def descriptors() -> set[str]:
    """Return each open descriptor with its target, as ``NUMBER TARGET``, except the one that lists them."""
    found: set[str] = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def descriptors_left(before: set[str]) -> set[str]:
    """Return the descriptors that are open now and were not ``before``; wait up to two seconds for none.

    Garbage is collected first: objects of earlier tests may still hold descriptors.
    """
    for _ in range(40):
        if not descriptors() - before:
            return set()
        gc.collect()
        time.sleep(0.05)
    return descriptors() - before


def limit_with_free(count: int) -> int:
    """Return the RLIMIT_NOFILE under which exactly ``count`` more descriptors can be opened.

    The limit is on the numbers of descriptors: numbers that are free between open ones count, too.
    """
    taken = {int(line.split(" ", 1)[0]) for line in descriptors()}
    free = (number for number in range(len(taken) + count + 1) if number not in taken)
    return [next(free) for _ in range(count + 1)][-1]
