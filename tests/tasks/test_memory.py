"""What a task does to the memory of the worker's process, which belongs to the application."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from celery import Celery

from tests.services import unavailable
from tests.services.project import Project
from tests.tasks.celery_app import SECONDS, worker
from tests.tasks.test_worker import result

ARENAS = """
import ctypes
import threading
from celery import shared_task

@shared_task(name="arenas", ignore_result=False)
def arenas(path):
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
    libc.fopen.restype = ctypes.c_void_p
    out = ctypes.c_void_p(libc.fopen(path.encode(), b"w"))
    libc.malloc_info(0, out)
    libc.fclose(out)
    with open(path) as file:
        return file.read().count("<heap nr=")
"""


@pytest.mark.parametrize(
    ("pool", "environment", "limited"),
    [
        ("prefork", {}, True),
        ("prefork", {"MALLOC_ARENA_MAX": "5"}, False),
        ("prefork", {"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}, False),
        ("threads", {}, False),
    ],
)
def test_task_limits_arenas_of_a_process_of_the_pool_only(
    queued: Project, app: Celery, pool: str, environment: dict[str, str], limited: bool
) -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        unavailable("The C library is not glibc.")
    Path(queued.folder, "settings/arenas.py").write_text(ARENAS)
    with worker(queued, pool, f"--pool={pool}", "--include=arenas", env=environment):
        result(app, "backup_sites", "uploads")
        sent = app.send_task("arenas", [str(queued.folder / "arenas.xml")])
        assert (sent.get(timeout=SECONDS) <= 2) is limited
