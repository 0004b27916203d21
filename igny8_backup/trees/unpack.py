"""A pack written out by a process of its own (``unpack_process``), seen from the process that decodes it.

Reading tars, hashing and writing small files is most of the work of a restore, and Python does it with one
thread at a time; beside it, this process fetches, decrypts and decompresses.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from igny8_backup.errors import FilesError, IntegrityError, ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.process import feed_process
from igny8_backup.trees.feed import heard

CANNOT, WRONG = 3, 6
"""Exit statuses of the process: the disk refuses, the pack is not what it should be. Its stderr is the error,
as JSON (``feed.last_words``)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where to write: the folder ``side``. ``records`` is the file of a ``Spool`` that says what the index
    places in the pack, ``report`` the file to write."""

    side: str
    records: str
    report: str


@dataclass(kw_only=True)
class Report:
    """``owners_left``: things that kept this user as their owner; ``skipped``: path (as the file system gives
    it to text) and what could not come back as it was."""

    owners_left: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def unpack(blocks: Blocks, job: Job) -> Report:
    """Writes the files of a pack. Raises ``FilesError``, ``IntegrityError``, and what the blocks raise."""
    argv = [sys.executable, "-m", "igny8_backup.trees.unpack_process", json.dumps(asdict(job))]
    path = os.pathsep.join(path or os.getcwd() for path in sys.path)
    env = {"PYTHONPATH": path, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    try:
        feed_process(argv, blocks, env=env)
    except ToolError as error:
        if error.exit_status_of_tool == CANNOT:
            raise heard(error.stderr_tail, FilesError) from None
        if error.exit_status_of_tool == WRONG:
            raise heard(error.stderr_tail, IntegrityError) from None
        raise
    found = json.loads(Path(job.report).read_bytes())
    return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})
