"""Time, memory and requests of list, monitor and prune on a storage with many backups.

    python -m benchmarks.stored [--backups 2000] [--packs 4000] [--s3 [--latency 30]] [--folder FOLDER]

The storage is made up: manifests and run records of nightly backups of two trees that share packs, whose
objects are empty files. Each operation runs in a process of its own, on a folder that counts its requests, or
with ``--s3`` on an S3 server that takes its time (``benchmarks.listing_server``): first without ``STATE_DIR``
and then again. The S3 server has collected documents, as after ``prune_backups``. A second storage of half
the size shows how the numbers grow. ``benchmarks.stored_goals`` has the goals; they are for 3,000 backups and
100,000 packs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.listing_server import LATENCY, ListingServer
from benchmarks.stored_data import TREES, collect_documents, make_storage
from benchmarks.stored_goals import PACKS, SECONDS, manifest_sizes, verdicts
from benchmarks.stored_operation import OPERATIONS, set_up
from benchmarks.watch import StallMonitor


def measure(
    folder: Path, backups: int, packs: int, latency: float | None, operations: list[str]
) -> dict[str, Any]:
    """Make a storage of ``backups`` backups in ``folder``, and measure ``operations`` on it.

    With ``latency``, an S3 server answers after so many milliseconds. Without it, the storage is the folder.
    """
    with ExitStack() as stack:
        root = folder / "storage"
        storage = str(root)
        packs_each = max(packs // (len(TREES) * backups), 1)
        make_storage(root / "igny8", backups, datetime.now(UTC) - timedelta(hours=1), packs_each)
        objects = sum(len(files) for _, _, files in os.walk(root))
        if latency is not None:
            collect_documents(root / "igny8")
            storage = stack.enter_context(ListingServer(root, latency)).endpoint
        for tree in TREES:
            (folder / tree).mkdir()
        found: dict[str, Any] = {}
        for name in operations:
            shutil.rmtree(folder / "state", ignore_errors=True)
            for one in ("folder",) if latency is None else ("first", "again"):
                found.setdefault(one, {})[name] = _measure_one(name, storage, folder)
        return {"objects": objects, **found}


def _measure_one(name: str, storage: str, folder: Path) -> dict[str, Any]:
    program = [sys.executable, "-m", "benchmarks.stored_operation", name, storage, str(folder)]
    with (
        subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process,
        StallMonitor([process.pid], folder / "nothing") as watch,
    ):
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"The operation {name!r} has failed.")
    return {**json.loads(output), "MiB": round(watch.memory / (1 << 20))}


def main() -> None:
    """Measure two storages, and print the result as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--backups", type=int, default=2000)
    options.add_argument("--packs", type=int, default=0, help="Packs in the storage; 2 for each backup.")
    options.add_argument("--s3", action="store_true", help="Use a local S3 server instead of a folder.")
    options.add_argument("--latency", type=float, default=LATENCY, help="Of the S3 server, in milliseconds.")
    options.add_argument("--folder", type=Path, default=None, help="Where the storages are made.")
    options.add_argument("--one", action="store_true", help="Measure this number only, not half of it too.")
    options.add_argument("--only", choices=OPERATIONS, help="Measure this operation only.")
    given = options.parse_args()
    for backups in (given.backups,) if given.one else (given.backups // 2, given.backups):
        folder = Path(tempfile.mkdtemp(dir=given.folder, prefix="igny8-stored-"))
        try:
            packs, latency = given.packs * backups // given.backups, given.latency if given.s3 else None
            only = [given.only] if given.only else list(OPERATIONS)
            measured = measure(folder, backups, packs, latency, only)
            print(json.dumps({"backups": backups, **measured}, indent=2))
            rounds = {name: found for name, found in measured.items() if name in SECONDS}
            print(*verdicts(rounds, measured["objects"]), sep="\n")
        finally:
            shutil.rmtree(folder)
    _show_sizes()


def _show_sizes() -> None:
    from igny8_backup.operations.context import open_context

    with tempfile.TemporaryDirectory(prefix="igny8-stored-") as name:
        for folder in ("storage", *TREES):
            (Path(name) / folder).mkdir()
        set_up(f"{name}/storage", Path(name))
        with open_context() as context:
            print(json.dumps({f"bytes of a manifest with {PACKS} packs": manifest_sizes(context)}, indent=2))


if __name__ == "__main__":
    main()
