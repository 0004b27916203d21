"""``python -m igny8_backup.trees.scan.scanner_process FD``: the scanner process, which walks a tree.

The scanner process is a worker (``worker_protocol``) of the archive worker. It sends what it finds to the
``scan_ahead.ScanAhead`` in the archive worker. Its result is the ``Facts`` about the tree.
"""

from __future__ import annotations

import base64
import pickle
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from igny8_backup.errors import FilesError
from igny8_backup.trees.model.entries import Entry, Files
from igny8_backup.trees.scan.scan import Scan
from igny8_backup.trees.scan.scan_ahead import UNCHANGED, FileRun, NonFile, ScanMessage, Skipped
from igny8_backup.trees.worker_protocol import END, Message, Parent, run

BATCH_ENTRIES = 500
"""Approximate number of files and other entries that are sent together."""


class _MessageBatcher:
    """Collects messages and sends many at a time, because to send a message takes longer than ``lstat``."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._messages: list[ScanMessage] = []
        self._count = 0

    def add(self, message: ScanMessage, count: int = 1) -> None:
        self._messages.append(message)
        self._count += count
        if self._count >= BATCH_ENTRIES:
            self.flush()

    def add_item(self, item: Entry | Files, scan: Scan) -> None:
        if isinstance(item, Files):
            self.add(FileRun(item.prefix, b"/".join(item.names), item.rows), len(item.names))
        else:
            self.add(NonFile(item, scan.folder_xattrs(item) if item.kind == "dir" else ()))

    @property
    def waiting(self) -> bool:
        """Whether messages were collected and not sent yet."""
        return bool(self._messages)

    def flush(self) -> None:
        """Send the collected messages as a batch. Without any, send an empty batch: the end of the walk."""
        if self._messages:
            self._parent.sender.send(pickle.dumps(self._messages, pickle.HIGHEST_PROTOCOL))
            self._parent.sender.flush()
        self._parent.send(Message(END))
        self._messages = []
        self._count = 0


def main(job: dict[str, Any], parent: Parent) -> dict[str, Any]:
    """Walk the tree that ``job`` describes, and send its entries to the archive worker; return the facts."""
    root, excluded, exclude_caches, own = pickle.loads(base64.b64decode(job["walk"]))  # noqa: S301 - from the parent process
    batcher = _MessageBatcher(parent)

    def skip(path: bytes, reason: str) -> None:
        batcher.add(Skipped(path, reason))

    try:
        scan = Scan(Path(root), on_skip=skip, excluded=excluded, exclude_caches=exclude_caches, own=own)
        with closing(scan):
            for item in scan:
                batcher.add_item(item, scan)
    except (FilesError, BrokenPipeError):
        raise
    except Exception as error:
        raise FilesError(
            f"The scanner process for {root} failed: {error!r}.",
            unchanged=UNCHANGED,
            hint="Run the backup again. If it fails again, report this as a bug.",
        ) from error
    if batcher.waiting:
        batcher.flush()
    batcher.flush()
    return asdict(scan.facts)


if __name__ == "__main__":
    run(main)
