"""Measure one operation of ``benchmarks.stored`` in this process: its time, and what it asks the storage.

    python -m benchmarks.stored_operation NAME STORAGE FOLDER

``STORAGE`` is the URL of a ``benchmarks.listing_server``, or a folder. ``FOLDER`` has the trees, and the
``STATE_DIR``, ``state``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.s3_answers import storage_options
from benchmarks.stored_data import HOST, TREES

if TYPE_CHECKING:
    from igny8_backup.operations.context import BackupContext

OPERATIONS = ("list", "start of a backup", "restore without id", "monitor", "prune, dry run")
REQUESTS: Counter[str] = Counter()
"""The requests so far: what an object storage would be asked."""
COUNTING = threading.Lock()


def set_up(storage: str, folder: Path) -> None:
    """Set up Django with ``storage``, a URL or a folder, as the storage of the backups."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django
    from django.conf import settings

    from igny8_backup.common.memory import return_large_memory, share_arenas

    share_arenas()  # as management commands do
    return_large_memory()
    django.setup()
    backend, options = "django.core.files.storage.FileSystemStorage", {"location": storage}
    if storage.startswith("http"):
        backend, options = "storages.backends.s3.S3Storage", storage_options(storage)
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": backend, "OPTIONS": options}}
    settings.MEDIA_ROOT = ""
    settings.IGNY8_BACKUP = {
        "DATABASES": [],
        "SITES": {tree: folder / tree for tree in TREES},
        "STATE_DIR": folder / "state",
        "SCRATCH_DIR": folder,
        "ENCRYPTION": None,
        "HOST": HOST,
    }


def measure(name: str) -> dict[str, Any]:
    """Run the operation ``name``; return its time, its CPU time and its requests."""
    from igny8_backup.operations.context import open_context

    with open_context() as context:
        operation = _operation(name, context)
        store: Any = context.store
        if hasattr(store, "storage"):
            store._bucket.client.meta.events.register("before-send.s3.*", _count_request, unique_id="count")
        else:
            count_requests(store)
        begun, cpu = time.perf_counter(), time.process_time()
        operation()
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"seconds": round(seconds, 2), "CPU seconds": round(cpu, 2), "requests": dict(REQUESTS)}


def _operation(name: str, context: BackupContext) -> Callable[[], object]:
    from igny8_backup.operations.backup.suspects import SizeCheck
    from igny8_backup.operations.history.read import read_history
    from igny8_backup.operations.history.select_copies import select_copies
    from igny8_backup.operations.maintain.pruning.prune import prune
    from igny8_backup.operations.monitor.run import monitor

    calls: tuple[Callable[[], object], ...] = (
        lambda: read_history(context),
        lambda: SizeCheck(context, lost=False),
        lambda: select_copies(context, None, databases=(), trees=TREES),
        lambda: monitor(context),
        lambda: prune(context, dry_run=True),
    )
    return dict(zip(OPERATIONS, calls, strict=True))[name]


def _count_request(request: Any, **given: Any) -> None:
    with COUNTING:
        REQUESTS[f"{request.method} {'listing' if 'list-type' in request.url else 'object'}"] += 1


def count_requests(store: Any) -> Any:
    """Count the requests of ``store``, which stays the same object."""
    for name in ("_open", "_list", "_list_dirs", "_size", "_delete", "_put_small"):
        setattr(store, name, _counted(name.strip("_"), getattr(store, name)))
    return store


def _counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        REQUESTS[name] += 1
        return method(*arguments)

    return counted


if __name__ == "__main__":
    set_up(sys.argv[2], Path(sys.argv[3]))
    print(json.dumps(measure(sys.argv[1])))
