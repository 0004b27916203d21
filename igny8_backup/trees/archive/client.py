"""A tree read by a process of its own (``feed_process``), seen from the process that stores its packs.

Walking, reading, hashing and writing tars is most of the work of a backup of small files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from igny8_backup.errors import ToolError
from igny8_backup.streams.child import Child
from igny8_backup.streams.shared_memory import Slots
from igny8_backup.trees.tar.blocks import TarBlocks
from igny8_backup.trees.worker_protocol import BLOCK, MESSAGE, PROGRESS, finish, give_job, own_process


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to read: ``root``. ``packs`` is what the names of new packs begin with; ``known`` the index to
    compare with, or empty (``Comparison`` has the rest); ``excluded`` are patterns of what stays out, with
    ``tagged`` so do tagged caches (``Scan``); ``index``, ``folders`` and ``report`` are the files
    to write."""

    root: str
    packs: str
    index: str
    folders: str
    report: str
    known: str = ""
    checksum: bool = False
    packs_to_rewrite: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    tagged: bool = False


@dataclass(kw_only=True)
class Report:
    """What was in the tree. ``bytes`` of contents of files; ``live_bytes``: how many bytes of each pack's tar are
    needed; ``skipped``: path (escaped), reason, and whether it is a failure, up to a number; ``excluded``:
    how many files and folders the patterns and tags keep out."""

    kinds: dict[str, int] = field(default_factory=lambda: {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0})
    bytes: int = 0
    live_bytes: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str, bool]] = field(default_factory=list)
    skipped_in_all: int = 0
    excluded: int = 0


def pack_name(packs: str, number: int) -> str:
    """The name of pack 1, 2 and so on."""
    return f"{packs}-{number:04d}"


@contextmanager
def tree_reader() -> Iterator[TreeReader]:
    """A process that reads one tree. It takes a tenth of a second to start: begin with it, and find out
    meanwhile what is to be read. Left early, it is stopped.
    """
    with own_process("igny8_backup.trees.archive.worker") as (child, slots):
        yield TreeReader(child, slots)


class TreeReader:
    """The packs of a tree, as the process makes them."""

    def __init__(self, child: Child, slots: Slots) -> None:
        self._child = child
        self._slots = slots
        self._on_progress: Callable[[int, int], None]
        self._length = self._slot = 0

    def read(
        self, job: Job, *, on_progress: Callable[[int, int], None] = lambda files, size: None
    ) -> Generator[tuple[str, TarBlocks], None, None]:
        """Each new pack's name and its tar; a pack must be consumed to its end before the next is asked for.
        ``on_progress`` hears now and then of files and bytes of contents so far, unchanged ones included.

        Exhausted, it has left index, folders' tar and report behind. Raises ``FilesError`` for a folder that
        cannot be read or written, ``ToolError`` when the process fails otherwise.
        """
        self._on_progress = on_progress
        give_job(self._child, asdict(job))
        number = 0
        while self._next_block(may_end=True):
            number += 1
            yield pack_name(job.packs, number), self._pack()

    def _pack(self) -> TarBlocks:
        """The rest of a pack, from the block that was told last."""
        going_on = True
        while going_on:
            yield self._slots.room(self._slot)[: self._length]
            self._child.write(bytes((self._slot,)))
            going_on = self._next_block()

    def _next_block(self, *, may_end: bool = False) -> bool:
        """Hear of the next block; False at the end of a pack and, if it ``may_end``, of everything."""
        while len(message := self._child.read_block(MESSAGE.size)) == MESSAGE.size:
            kind, one, other = MESSAGE.unpack(message)
            if kind != PROGRESS:
                self._length, self._slot = one, other
                return bool(kind == BLOCK)
            self._on_progress(one, other)
        finish(self._child)
        if not may_end:
            raise ToolError("The process that reads the tree ended in the middle of a pack.")
        return False


def read_report(job: Job) -> Report:
    """What the process has said at its end."""
    found = json.loads(Path(job.report).read_bytes())
    return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})
