"""A tree read by a process of its own (``feed_process``), seen from the process that stores its packs.

Walking, reading, hashing and writing tars is most of the work of a backup of small files, and Python does it
with one thread at a time; beside it, this process compresses, encrypts and stores.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from igny8_backup.errors import BackupError, FilesError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import BlockReader
from igny8_backup.streams.process import process_output

HEAD = struct.Struct(">BQQ")
"""What stands before all that the process says: one of the kinds, and two numbers."""
BLOCK, END, PROGRESS = range(3)
"""A block of a pack, its length and 0; the end of a pack, 0 and 0; files and bytes of contents so far, after
which nothing follows but another head."""

CANNOT = 3
"""Exit status of the process where a folder cannot be read or written: its stderr is the error, as JSON."""


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
    emptied: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    tagged: bool = False


@dataclass(kw_only=True)
class Report:
    """What was in the tree. ``bytes`` of contents of files; ``living``: those needed of each pack;
    ``skipped``: path (escaped), reason, and whether it is a failure, up to a number; ``excluded``: how many
    files and folders the patterns and tags keep out."""

    kinds: dict[str, int] = field(default_factory=lambda: {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0})
    bytes: int = 0
    living: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str, bool]] = field(default_factory=list)
    skipped_in_all: int = 0
    excluded: int = 0


def pack_name(packs: str, number: int) -> str:
    """The name of pack 1, 2 and so on."""
    return f"{packs}-{number:04d}"


def read_tree(
    job: Job, *, on_progress: Callable[[int, int], None] = lambda files, size: None
) -> Generator[tuple[str, Blocks], None, None]:
    """Each new pack's name and its tar; a pack must be consumed to its end before the next is asked for.
    ``on_progress`` hears now and then of files and bytes of contents so far, unchanged ones included.

    Exhausted, it has left index, folders' tar and report behind. Raises ``FilesError`` for a folder that
    cannot be read or written, ``ToolError`` when the process fails otherwise. Closing it stops the process.
    """
    argv = [sys.executable, "-m", "igny8_backup.trees.feed_process", json.dumps(asdict(job))]
    path = os.pathsep.join(path or os.getcwd() for path in sys.path)
    env = {"PYTHONPATH": path, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    with BlockReader(process_output(argv, env=env)) as source:
        number = 0
        while length := _next_length(source, on_progress, may_end=True):
            number += 1
            yield pack_name(job.packs, number), _pack(source, length, on_progress)


def last_words(error: BackupError) -> str:
    """An error as JSON, from which the other side makes it again."""
    what, untouched, fix = error.parts
    return json.dumps({"what": what, "untouched": untouched, "fix": fix})


def heard(said: str, kind: type[BackupError]) -> BackupError:
    """The error that ``last_words`` told; the bare text where it was too long to be kept whole."""
    try:
        return kind(**json.loads(said))
    except ValueError:
        return kind(said)


def read_report(job: Job) -> Report:
    """What the process has said at its end."""
    found = json.loads(Path(job.report).read_bytes())
    return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})


def _pack(source: BlockReader, length: int, on_progress: Callable[[int, int], None]) -> Blocks:
    while length:
        yield _read(source, length)
        length = _next_length(source, on_progress)


def _next_length(
    source: BlockReader, on_progress: Callable[[int, int], None], *, may_end: bool = False
) -> int:
    """How long the next block is; 0 at the end of a pack and, if it ``may_end``, of everything."""
    while head := _read(source, HEAD.size, may_end=may_end):
        kind, one, other = HEAD.unpack(head)
        if kind != PROGRESS:
            return int(one)
        on_progress(one, other)
    return 0


def _read(source: BlockReader, size: int, *, may_end: bool = False) -> bytes:
    try:
        data = source.read(size)
    except ToolError as error:
        if error.exit_status_of_tool == CANNOT:
            raise heard(error.stderr_tail, FilesError) from None
        raise
    if len(data) < size and not (may_end and not data):
        raise ToolError("The process that reads the tree ended in the middle of a pack.")
    return data
