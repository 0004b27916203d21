"""Start and control the archive worker (``archive.worker``), which reads a tree, and receive its packs.

Walking the tree, reading, hashing and writing tars is most of the work in a backup of small files. So a
separate process does it. Entry point: ``tree_reader``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Protocol

from igny8_backup.trees.archive.packs import pack_name
from igny8_backup.trees.model.facts import Facts
from igny8_backup.trees.tar.blocks import TarBlocks
from igny8_backup.trees.worker_protocol import ASIDE, BLOCK, LAST, PROGRESS, Message, Worker, start_worker


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an archive worker has to do: the tree to read, the files to write and the rules for reading.

    ``root`` is the root of the tree; packs (tars) are named after ``backup_id``. ``index`` and ``folders``
    are the paths of the files to write: the index, and the tar of folders and links. ``parent_index`` is the
    path of the index of the last backup, or empty. ``full``: store every file again. ``checksum``: compare
    contents even if size, times and inode are the same. ``large_in_chunks``: large files are in tars of their
    own, not in packs. ``packs_to_rewrite`` are names of packs of earlier
    backups whose files are stored again. ``excluded`` are patterns (``Excludes``). ``exclude_caches``:
    exclude the contents of folders that ``CACHEDIR.TAG`` marks as caches. ``own`` are the names (escaped) of
    the folders in the root that hold data of restores and are not backed up.
    """

    root: str
    backup_id: str
    index: str
    folders: str
    parent_index: str = ""
    full: bool = False
    checksum: bool = False
    large_in_chunks: bool = False
    packs_to_rewrite: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    exclude_caches: bool = False
    own: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Report:
    """What an archive worker found in a tree: numbers of files, bytes and skipped paths.

    ``kinds``: the number of files, folders, symlinks and hard links. ``bytes``: the size of all files.
    ``facts``: what the walk learned about the tree as a whole. ``newly_excluded``: the folders that are
    excluded since the last backup, as ``NewlyExcluded.folders`` returns them. ``live_bytes``: for each pack
    (tar), old or new, the bytes in it that this backup needs. ``skipped``: for each of the first
    ``MAX_SKIPPED`` skipped paths, the path (escaped), the reason, and whether skipping it is a failure.
    ``skipped_total``: the number of all skipped paths.
    """

    kinds: dict[str, int] = field(default_factory=lambda: {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0})
    bytes: int = 0
    live_bytes: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str, bool]] = field(default_factory=list)
    skipped_total: int = 0
    facts: Facts = field(default_factory=Facts)
    newly_excluded: list[tuple[str, int, int, str]] = field(default_factory=list)


class LargeTarsReceiver(Protocol):
    """Receives the tars of large files, one after the other, while the packs are read."""

    def add(self, block: bytes) -> None:
        """Receive the next block of a tar."""
        ...

    def end_tar(self) -> None:
        """Note the end of the tar. The next block begins a new one."""
        ...


@contextmanager
def tree_reader() -> Iterator[TreeReader]:
    """Start an archive worker, which reads one tree. The worker is stopped at the end of the context."""
    with start_worker("igny8_backup.trees.archive.worker") as worker:
        yield TreeReader(worker)


class TreeReader:
    """A running archive worker. ``read`` yields the packs of a tree; afterwards ``report`` is set."""

    def __init__(self, worker: Worker) -> None:
        self.report: Report
        self._worker = worker
        self._on_progress: Callable[[int, int], None]
        self._large: LargeTarsReceiver | None
        self._message: Message

    def read(
        self,
        job: Job,
        *,
        on_progress: Callable[[int, int], None] = lambda files, size: None,
        large: LargeTarsReceiver | None = None,
    ) -> Generator[tuple[str, TarBlocks], None, None]:
        """Yield the name and the bytes of each new pack (tar of changed files); read each to its end.

        ``on_progress`` is called with totals of files and bytes so far, unchanged files included. ``large``
        receives the tars of large files; it is needed if ``job`` says that they are not in packs. Once the
        generator is exhausted, the index and the folders' tar are written, and ``report`` is set. Raises
        ``FilesError`` for a folder that cannot be read or written, ``IntegrityError`` for a damaged parent
        index, ``ToolError`` if the worker fails.
        """
        self._on_progress = on_progress
        self._large = large
        self._worker.begin(asdict(job))
        number = 0
        while self._receive().kind == BLOCK:
            number += 1
            yield pack_name(job.backup_id, number), self._pack()
        found = json.loads(self._message.payload)
        lists = {name: [tuple(item) for item in found[name]] for name in ("skipped", "newly_excluded")}
        self.report = Report(**{**found, **lists, "facts": Facts(**found["facts"])})

    def _pack(self) -> TarBlocks:
        """Yield the remaining blocks of the pack (tar) that the worker is sending."""
        while (message := self._message).kind == BLOCK:
            yield self._worker.block(message)
            self._worker.free(message)
            self._receive()

    def _receive(self) -> Message:
        """Return the worker's next message about packs.

        Messages about progress are passed to ``on_progress``, the tars of large files to ``large``.
        """
        while (message := self._worker.receive()).kind in (PROGRESS, ASIDE, LAST):
            if message.kind == PROGRESS:
                self._on_progress(message.first, message.second)
            elif self._large is None:
                raise RuntimeError("nobody receives the tars of large files")
            elif message.kind == ASIDE:
                block = bytes(self._worker.block(message))
                self._worker.free(message)
                self._large.add(block)
            else:
                self._large.end_tar()
        self._message = message
        return message
