"""Simulate a fleet: the real coordinator, and a handful of processes that do the tasks of all hosts.

``benchmarks.fleet`` runs this module in a process of its own for each size of the fleet.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.stored_operation import REQUESTS, count_requests
from benchmarks.watch import memory_of

WORKERS, FILES = 4, 10


def make_tree(root: Path, files: int) -> None:
    """Write a tree of small files."""
    for number in range(files):
        path = root / f"{number % 100:02}" / f"page-{number}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<h1>Page {number} of {root.name}</h1>\n" * 20)


def simulate(where: str, size: int) -> None:
    """Back up a fleet of ``size`` hosts, whose tasks a handful of processes do; print what was counted."""
    folder, names = Path(where), [f"web-{number:04}" for number in range(1, size + 1)]
    for name in names:
        make_tree(folder / "trees" / name, FILES)
    _set_up(folder, names)
    # Not forked: the memory that forked processes share would not count as that of the coordinator.
    processes = multiprocessing.get_context("spawn")
    tasks: Any = processes.Queue()
    answers: Any = processes.Queue()
    workers = [
        processes.Process(target=_work, args=(folder, names, tasks, answers), daemon=True)
        for _ in range(WORKERS)
    ]
    for process in workers:
        process.start()
    from igny8_backup.operations.context import open_context
    from igny8_backup.operations.fleet import coordinate
    from igny8_backup.operations.fleet.request import FleetRequest

    # A real host begins within seconds. Here its task waits until one of a few processes is free.
    coordinate.SEND_AGAIN = timedelta(hours=6)

    sent = 0

    def send(name: str, arguments: Mapping[str, Any], **options: Any) -> None:
        nonlocal sent
        sent += 1
        tasks.put(dict(arguments))

    peak = [0.0]
    with open_context(writing=True) as context:
        count_requests(context.store)
        begun = time.perf_counter()
        with _watching(os.getpid(), peak):
            result = coordinate.run_fleet(context, FleetRequest(start_within=timedelta(hours=6)), send)
        wall = time.perf_counter() - begun
        record = context.store.size(f"fleets/{result.record.id}/fleet.json")
    for _ in workers:
        tasks.put(None)
    of_hosts = sum(answers.get() for _ in workers)
    if not result.complete:
        raise SystemExit("\n".join(result.problems()[:5]))
    print(
        json.dumps(
            {
                "sent": sent,
                "wall": wall,
                "coordinator": sum(REQUESTS.values()),
                "memory": peak[0],
                "record": record,
                "host": of_hosts / size,
            }
        )
    )


@contextmanager
def _watching(pid: int, peak: list[float]) -> Iterator[None]:
    """Keep the largest memory of the process ``pid``, in MiB, in ``peak`` during the block."""
    ended = Event()

    def watch() -> None:
        while not ended.wait(0.05):
            with suppress(OSError):
                peak[0] = max(peak[0], memory_of(pid) / 2**20)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _set_up(folder: Path, names: list[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django
    from django.conf import settings

    django.setup()
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(folder / "storage")},
        },
    }
    settings.MEDIA_ROOT = ""
    settings.IGNY8_BACKUP = {
        "DATABASES": [],
        "SITES": {name: folder / "trees" / name for name in names},
        "STATE_DIR": folder / "state",
        "SCRATCH_DIR": folder,
        "ENCRYPTION": None,
        "HOST": "admin",
        "HOSTS": {name: {"queue": f"backup-{name}", "sites": [name]} for name in names},
    }


def _settings_of(folder: Path, host: str) -> Any:
    """Return a context manager that makes the settings those of ``host``, which has one tree."""
    from django.conf import settings
    from django.test import override_settings

    (folder / "states" / host).mkdir(parents=True, exist_ok=True)
    own = {
        "HOST": host,
        "SITES": {host: folder / "trees" / host},
        "HOSTS": {host: {"queue": f"backup-{host}", "sites": [host]}},
        "STATE_DIR": folder / "states" / host,
    }
    return override_settings(IGNY8_BACKUP={**settings.IGNY8_BACKUP, **own})


def _work(folder: Path, names: list[str], tasks: Any, answers: Any) -> None:
    """Do tasks of any host, as its worker would; then answer with the number of requests."""
    _set_up(folder, names)
    from igny8_backup.operations.context import open_context
    from igny8_backup.operations.fleet.part import PartRequest, run_part

    asked: Counter[str] = Counter()
    while (arguments := tasks.get()) is not None:
        host = arguments["host"]
        with _settings_of(folder, host), open_context(writing=True) as context:
            REQUESTS.clear()
            count_requests(context.store)
            request = PartRequest(fleet=arguments["fleet"], host=host, trees=tuple(arguments["trees"]))
            run_part(replace(context, own_store=context.store), request)
            asked.update(REQUESTS)
    answers.put(sum(asked.values()))


if __name__ == "__main__":
    simulate(sys.argv[1], int(sys.argv[2]))
