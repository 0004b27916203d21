from __future__ import annotations

import ctypes
import subprocess
import sys

from tests.services import unavailable

COUNT = """
import ctypes, sys, threading
from django.conf import settings
settings.configure()
from igny8_backup.management.base import share_arenas

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


def arenas(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, check=True, text=True)
    return done.stdout.count("<heap nr=")


def test_share_arenas_limits_threads_to_two_arenas() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        unavailable("The C library is not glibc.")
    assert arenas("shared") == 2
    assert arenas("each") > 2
