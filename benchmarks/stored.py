"""Time of list, monitor and prune on a storage with many backups, and the number of requests.

    python -m benchmarks.stored [--backups 2000] [--packs 4000] [--s3 [--latency 30]] [--folder FOLDER]

The storage is made up: manifests and run records of nightly backups of two trees that share packs, whose
objects are empty files. Each operation runs in this process, on a folder that counts its requests, or with
``--s3`` on an S3 server that takes its time (``benchmarks.listing_server``), first without ``STATE_DIR`` and
then again. A second storage of half the size shows how both numbers grow. ``benchmarks.stored_goals`` has the
goals; they are for 3,000 backups and 100,000 packs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.listing_server import LATENCY, ListingServer
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import COMPLETE, Manifest, TreePart
from igny8_backup.formats.objects import StoredObject

HOST = "web-1"
TREES = ("sites", "uploads")
PACKS_SHARED = 20
"""The number of packs that a backup needs of those before it."""


def make_storage(root: Path, backups: int, newest: datetime, packs_each: int = 1) -> None:
    """Write a storage with ``backups`` nightly backups, of which the newest began at ``newest``.

    Each stores ``packs_each`` packs for each tree.
    """
    packs: dict[str, list[StoredObject]] = {tree: [] for tree in TREES}
    for number in range(backups):
        started = newest - timedelta(days=1) * (backups - 1 - number)
        backup_id = keys.make_id(started, f"{number:06x}")
        trees = []
        for tree in TREES:
            for one in range(1, packs_each + 1):
                name = keys.pack_name(backup_id, one)
                packs[tree].append(_object(root, keys.pack_key(HOST, tree, name, ".zst")))
            del packs[tree][:-PACKS_SHARED]
            trees.append(
                TreePart(
                    name=tree,
                    role="sites",
                    state=COMPLETE,
                    started=started,
                    finished=started,
                    index=_object(root, keys.index_key(backup_id, tree, ".zst")),
                    folders=_object(root, keys.folders_key(backup_id, tree, ".zst")),
                    packs=tuple(packs[tree]),
                    files=1000,
                    bytes=1_000_000,
                    full=number == 0,
                )
            )
        manifest = Manifest(
            schema=1,
            id=backup_id,
            host=HOST,
            environment="benchmark",
            label="",
            started=started,
            finished=started,
            requested=TREES,
            software={},
            details=_object(root, keys.details_key(backup_id, ".zst")),
            trees=tuple(trees),
        )
        run = RunRecord(
            schema=1,
            id=backup_id,
            host=HOST,
            environment="benchmark",
            label="",
            requested=TREES,
            started=started,
            heartbeat=started,
            outcome=COMPLETE,
            finished=started,
        )
        _write(root / keys.manifest_key(backup_id), records.to_json(manifest))
        _write(root / keys.run_key(backup_id), records.to_json(run))


def _object(root: Path, key: str) -> StoredObject:
    _write(root / key, b"")
    return StoredObject(key=key, stored_bytes=0, raw_bytes=1, sha256="0" * 64, codecs=("zstd",))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def measure(folder: Path, backups: int, packs: int, latency: float | None) -> dict[str, Any]:
    """Make a storage of ``backups`` backups in ``folder``, and measure each operation on it.

    With ``latency``, an S3 server answers after so many milliseconds. Without it, the storage is the folder.
    """
    from django.conf import settings

    from benchmarks.stored_goals import PACKS, manifest_sizes
    from igny8_backup.operations.context import open_context

    with ExitStack() as stack:
        root = folder / "storage"
        storage: dict[str, Any] = {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(root)},
        }
        packs_each = max(packs // (len(TREES) * backups), 1)
        make_storage(root / "igny8", backups, datetime.now(UTC) - timedelta(hours=1), packs_each)
        objects = sum(len(files) for _, _, files in os.walk(root))
        if latency is not None:
            server = stack.enter_context(ListingServer(root, latency))
            storage = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": server.options()}
        for tree in TREES:
            (folder / tree).mkdir()
        settings.STORAGES = {**settings.STORAGES, "dbbackup": storage}
        settings.MEDIA_ROOT = ""
        settings.IGNY8_BACKUP = {
            "DATABASES": [],
            "SITES": {tree: folder / tree for tree in TREES},
            "STATE_DIR": folder / "state",
            "SCRATCH_DIR": folder,
            "ENCRYPTION": None,
            "HOST": HOST,
        }
        rounds = ("folder",) if latency is None else ("first", "again")
        found = {name: _measure_all(on_s3=latency is not None) for name in rounds}
        with open_context() as context:
            sizes = manifest_sizes(context)
        return {"objects": objects, **found, f"bytes of a manifest with {PACKS} packs": sizes}


def _measure_all(*, on_s3: bool) -> dict[str, Any]:
    from igny8_backup.operations.backup.suspects import SizeCheck
    from igny8_backup.operations.context import open_context
    from igny8_backup.operations.history.read import read_history
    from igny8_backup.operations.history.select_copies import select_copies
    from igny8_backup.operations.maintain.pruning.prune import prune
    from igny8_backup.operations.monitor.run import monitor

    found: dict[str, Any] = {}
    with open_context() as context:
        store: Any = context.store
        if on_s3:
            store._bucket.client.meta.events.register("before-send.s3.*", _count_request, unique_id="count")
        else:
            count_requests(store)
        operations: dict[str, Callable[[], object]] = {
            "list": lambda: read_history(context),
            "start of a backup": lambda: SizeCheck(context, lost=False),
            "restore without id": lambda: select_copies(context, None, databases=(), trees=TREES),
            "monitor": lambda: monitor(context),
            "prune, dry run": lambda: prune(context, dry_run=True),
        }
        for name, operation in operations.items():
            before, begun, cpu = Counter(REQUESTS), time.perf_counter(), time.process_time()
            operation()
            seconds = time.perf_counter() - begun
            found[name] = {
                "seconds": round(seconds, 2),
                "CPU seconds": round(time.process_time() - cpu, 2),
                "requests": dict(Counter(REQUESTS) - before),
            }
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return found


def _count_request(request: Any, **given: Any) -> None:
    with COUNTING:
        REQUESTS[f"{request.method} {'listing' if 'list-type' in request.url else 'object'}"] += 1


REQUESTS: Counter[str] = Counter()
"""The requests so far: what an object storage would be asked."""
COUNTING = threading.Lock()


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


def main() -> None:
    """Measure two storages, and print the result as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--backups", type=int, default=2000)
    options.add_argument("--packs", type=int, default=0, help="Packs in the storage; 2 for each backup.")
    options.add_argument("--s3", action="store_true", help="Use a local S3 server instead of a folder.")
    options.add_argument("--latency", type=float, default=LATENCY, help="Of the S3 server, in milliseconds.")
    options.add_argument("--folder", type=Path, default=None, help="Where the storages are made.")
    options.add_argument("--one", action="store_true", help="Measure this number only, not half of it too.")
    given = options.parse_args()
    if not given.one:  # each in a process of its own, because Django keeps storages
        for backups in (given.backups // 2, given.backups):
            where = ["--folder", str(given.folder)] if given.folder else []
            where += ["--s3", "--latency", str(given.latency)] * given.s3 + [
                "--packs",
                str(given.packs * backups // given.backups),
            ]
            program = [sys.executable, "-m", "benchmarks.stored", "--one", "--backups", str(backups), *where]
            subprocess.run(program, check=True)
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from benchmarks.stored_goals import SECONDS, verdicts

    folder = Path(tempfile.mkdtemp(dir=given.folder, prefix="igny8-stored-"))
    try:
        measured = measure(folder, given.backups, given.packs, given.latency if given.s3 else None)
        print(json.dumps({"backups": given.backups, **measured}, indent=2))
        rounds = {name: found for name, found in measured.items() if name in SECONDS}
        print(*verdicts(rounds, measured["objects"]), sep="\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
