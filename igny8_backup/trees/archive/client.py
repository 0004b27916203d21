"""Read a tree in a worker process (``archive.worker``), from the process that stores its packs.

Walking the tree, reading, hashing and writing tars is most of the work of a backup of small files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from igny8_backup.trees.archive.packs import pack_name
from igny8_backup.trees.tar.blocks import TarBlocks
from igny8_backup.trees.worker_protocol import BLOCK, PROGRESS, Message, Worker, start_worker


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the archive worker reads and writes.

    ``root`` is the tree; packs are named after ``backup_id``. ``parent_index`` is the file to compare with,
    or empty; ``checksum`` and ``packs_to_rewrite`` are as in ``Comparison``. ``excluded`` are patterns
    (``Excludes``), ``exclude_caches`` is as for ``Scan``. ``index`` and ``folders`` are the files to write.
    """

    root: str
    backup_id: str
    index: str
    folders: str
    parent_index: str = ""
    checksum: bool = False
    packs_to_rewrite: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    exclude_caches: bool = False


@dataclass(kw_only=True)
class Report:
    """What was in the tree.

    ``kinds``: the number of each kind of record; ``bytes``: contents of files; ``live_bytes``: bytes of each
    pack's tar that this backup needs; ``skipped``: path (escaped), reason, and whether that is a failure, of
    the first ``MAX_SKIPPED``; ``skipped_total``: all of them; ``excluded``: files and folders that patterns
    and cache tags exclude.
    """

    kinds: dict[str, int] = field(default_factory=lambda: {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0})
    bytes: int = 0
    live_bytes: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str, bool]] = field(default_factory=list)
    skipped_total: int = 0
    excluded: int = 0


@contextmanager
def tree_reader() -> Iterator[TreeReader]:
    """Start a worker that reads one tree. It is stopped at the end of the context."""
    with start_worker("igny8_backup.trees.archive.worker") as worker:
        yield TreeReader(worker)


class TreeReader:
    """Yields the packs of a tree as the worker makes them; then it has the ``report``."""

    def __init__(self, worker: Worker) -> None:
        self.report: Report
        self._worker = worker
        self._on_progress: Callable[[int, int], None]
        self._message: Message

    def read(
        self, job: Job, *, on_progress: Callable[[int, int], None] = lambda files, size: None
    ) -> Generator[tuple[str, TarBlocks], None, None]:
        """Yield the name and the tar of each new pack; consume a pack to its end before asking for the next.

        ``on_progress`` is called with totals of files and bytes so far, unchanged files included. When the
        generator is exhausted, the index and the folders' tar are written, and ``report`` is set. Raises
        ``FilesError`` for a folder that cannot be read or written, ``ToolError`` when the worker fails.
        """
        self._on_progress = on_progress
        self._worker.begin(asdict(job))
        number = 0
        while self._receive().kind == BLOCK:
            number += 1
            yield pack_name(job.backup_id, number), self._pack()
        found = json.loads(self._message.payload)
        self.report = Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})

    def _pack(self) -> TarBlocks:
        """The rest of a pack, from the block that was received last."""
        while (message := self._message).kind == BLOCK:
            yield self._worker.block(message)
            self._worker.free(message)
            self._receive()

    def _receive(self) -> Message:
        """Receive the next message that is not about progress."""
        while (message := self._worker.receive()).kind == PROGRESS:
            self._on_progress(message.first, message.second)
        self._message = message
        return message
