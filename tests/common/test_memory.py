from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.services import unavailable

COUNT = """
import ctypes, sys, threading
from django.conf import settings
settings.configure()
from igny8_backup.common.memory import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
barrier = threading.Barrier(6)

def work():
    barrier.wait()
    held = [bytes(1000) for _ in range(100)]
    barrier.wait()

threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


RESIDENT = """
import sys
from django.conf import settings
settings.configure()
from igny8_backup.common.memory import return_large_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) >> 8  # pages of 4 KiB

if sys.argv[1] == "returned":
    return_large_memory()
large = bytearray(20 << 20)
del large  # from now on, glibc takes memory of this size from the heap
before = resident()
large = bytearray(20 << 20)
small = [bytearray(1000) for _ in range(1000)]  # behind it on the heap
del large
print(resident() - before)
"""


def arenas(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, check=True, text=True)
    return done.stdout.count("<heap nr=")


def kept(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", RESIDENT, how], capture_output=True, check=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is read from /proc")
def test_return_large_memory_keeps_no_large_memory_that_was_freed() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        unavailable("The C library is not glibc.")
    assert kept("returned") < 10
    assert kept("by default") >= 20


def test_share_arenas_limits_threads_to_two_arenas() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        unavailable("The C library is not glibc.")
    assert arenas("shared") == 2
    assert arenas("each") > 2
