"""A tree read by a process of its own (``feed_process``), seen from the process that stores its packs.

Walking, reading, hashing and writing tars is most of the work of a backup of small files, and Python does it
with one thread at a time; beside it, this process compresses, encrypts and stores.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from igny8_backup.errors import BackupError, FilesError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import BlockReader
from igny8_backup.streams.process import process_output

LENGTH = 8
"""Bytes, big-endian, before each block of a pack: its length; 0 after the last block of a pack."""

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


def read_tree(job: Job) -> Generator[tuple[str, Blocks], None, None]:
    """Each new pack's name and its tar; a pack must be consumed to its end before the next is asked for.

    Exhausted, it has left index, folders' tar and report behind. Raises ``FilesError`` for a folder that
    cannot be read or written, ``ToolError`` when the process fails otherwise. Closing it stops the process.
    """
    argv = [sys.executable, "-m", "igny8_backup.trees.feed_process", json.dumps(asdict(job))]
    path = os.pathsep.join(path or os.getcwd() for path in sys.path)
    env = {"PYTHONPATH": path, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    with BlockReader(process_output(argv, env=env)) as source:
        number = 0
        while head := _read(source, LENGTH, may_end=True):
            number += 1
            yield pack_name(job.packs, number), _pack(source, int.from_bytes(head, "big"))


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


def _pack(source: BlockReader, length: int) -> Blocks:
    while length:
        yield _read(source, length)
        length = int.from_bytes(_read(source, LENGTH), "big")


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
