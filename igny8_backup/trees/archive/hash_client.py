"""Start hash workers (``archive.hash_worker``), and let them compare files with the last backup.

A hash worker reads and hashes files that may have the same contents as before. After ``chown -R``, a
deployment that copies files, or the renaming of a folder, the times or the names of all files have changed
and their contents have not. Then a backup does hardly anything but read and hash, which one processor alone
would do slowly.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from threading import Event
from typing import NamedTuple, Self, TypeAlias

from igny8_backup.errors import FilesError, ToolError
from igny8_backup.streams.interrupts import submit
from igny8_backup.trees.index.lines import FileLines
from igny8_backup.trees.model.entries import Identities, Row
from igny8_backup.trees.model.xattrs import Xattrs
from igny8_backup.trees.scan.scan_ahead import UNCHANGED
from igny8_backup.trees.worker_protocol import BATCH, PROGRESS, Message, Worker, start_worker

MOST_WORKERS = 3
"""Largest number of hash workers. Each needs about 12 MiB of memory."""
WAIT_SECONDS = 1.0
"""Seconds between two looks whether hash workers have read more of large files."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a hash worker has to know: the root of the tree, and the packs whose files must be stored again.

    Packs are the tars of earlier backups. If somebody replaces the root, no file is the one that was listed.
    """

    root: str
    packs_to_rewrite: tuple[str, ...] = ()


class KnownFiles(NamedTuple):
    """Consecutive files of a folder, with their lines in the index of the last backup.

    ``prefix``, ``folders``, ``names`` and ``rows`` describe the files, as the fields of ``entries.Files`` do.
    ``prefixes`` are the beginnings of their lines in the new index (``unchanged_prefixes``). A line is empty
    if the file is new, or has another size than in the last backup.
    """

    prefix: bytes
    folders: Identities
    names: list[bytes]
    rows: list[Row]
    prefixes: list[bytes]
    lines: list[bytes]


class Hashed(NamedTuple):
    """What was read of a file that did not change meanwhile: its SHA-256, attributes, and ``racy`` mark."""

    sha256: str
    xattrs: Xattrs
    racy: bool


class Other(NamedTuple):
    """A file that is not as the earlier backup holds it: its number among the ``KnownFiles``.

    ``store``: its contents are different, or its pack is rewritten. ``hashed`` has its digest if it was read:
    the earlier backup may hold the contents under another path. Without ``store``, the archive worker must
    compare the file, because it was replaced, changed while it was read, or cannot be read.
    """

    number: int
    store: bool
    hashed: Hashed | None = None


Compared: TypeAlias = list[FileLines | Other]
"""The result for some ``KnownFiles``, in their order: lines of the new index, and the other files."""


class Hashers:
    """Up to ``MOST_WORKERS`` hash workers for one tree, at most one for each processor.

    They are started when they are needed. ``close`` stops them.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.limit = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
        """The largest number of workers."""
        self._workers: list[Worker] = []
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        self._progress = Event()  # a worker has read more of a large file
        self._stack = ExitStack()
        self._threads = ThreadPoolExecutor(self.limit, "hashers")

    @property
    def started(self) -> bool:
        """Whether a worker runs already."""
        return bool(self._workers)

    def submit(self, batch: Sequence[KnownFiles]) -> Future[list[Compared]]:
        """Let a worker compare the files in ``batch`` with the last backup.

        The result is a future. Its value is a list for each ``KnownFiles`` in the batch. Raises
        ``FilesError`` if a worker cannot be started. The future raises ``FilesError`` if the worker is killed
        or cannot open the root, ``IntegrityError`` if a line of the last index is damaged.
        """
        if len(self._workers) < self.limit and self._idle.empty():
            self._start()
        return submit(self._threads, self._ask, batch)

    def wait(self, answer: Future[list[Compared]], on_progress: Callable[[], object]) -> list[Compared]:
        """Wait for the result of :meth:`submit`, and return it.

        ``on_progress`` is called from time to time while the workers read large files. Raises the errors of
        the future.
        """
        while wait([answer], timeout=WAIT_SECONDS).not_done:
            if self._progress.is_set():
                self._progress.clear()
                on_progress()
        return answer.result()

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(cancel_futures=True)
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> None:
        try:
            worker = self._stack.enter_context(start_worker("igny8_backup.trees.archive.hash_worker"))
            worker.begin(asdict(self._job))
        except ToolError as error:
            raise self._failed(f"cannot be started: {error.what}") from None
        self._workers.append(worker)
        self._idle.put(worker)

    def _ask(self, batch: Sequence[KnownFiles]) -> list[Compared]:
        worker = self._idle.get()
        try:
            worker.send(Message(BATCH, payload=pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)))
            while (answer := worker.receive()).kind == PROGRESS:
                self._progress.set()
        except ToolError as error:
            raise self._failed(
                f"ended before it was done (exit status {error.exit_status_of_tool})."
            ) from None
        finally:
            self._idle.put(worker)  # also if it has ended: other threads may wait for it
        found: list[Compared] = pickle.loads(answer.payload)  # noqa: S301 - from our own process
        return found

    def _failed(self, how: str) -> FilesError:
        return FilesError(
            f"A process that hashes the files of {self._job.root} {how}",
            unchanged=UNCHANGED,
            hint="Run the backup again. If memory was short, the kernel ended the process: see its log"
            " (dmesg).",
        )
