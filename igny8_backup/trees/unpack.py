"""A pack written out by a process of its own (``unpack_process``), seen from the process that decodes it.

Reading tars, hashing and writing small files is most of the work of a restore.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from igny8_backup.errors import ToolError
from igny8_backup.streams import Blocks
from igny8_backup.streams.slots import Sender
from igny8_backup.trees.processes import BLOCK, END, MESSAGE, finish, own_process


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where to write: the folder ``side``. ``records`` is the file of a ``Spool`` that says what the index
    places in the pack, ``report`` the file to write; ``allow_set_id`` is as for ``TreeWriter``."""

    side: str
    records: str
    report: str
    allow_set_id: bool = False


@dataclass(kw_only=True)
class Report:
    """``owners_left``: things that kept this user as their owner; ``skipped``: path (as the file system gives
    it to text) and what could not come back as it was."""

    owners_left: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def unpack(blocks: Blocks, job: Job) -> Report:
    """Writes the files of a pack. Raises ``FilesError``, ``IntegrityError``, and what the blocks raise."""
    module = "igny8_backup.trees.unpack_process"
    with closing(blocks), own_process(module, asdict(job)) as (child, slots):

        def tell(length: int, slot: int) -> None:
            child.write(MESSAGE.pack(BLOCK, length, slot))

        sender = Sender(slots, tell=tell, freed=lambda: child.read_block(1))
        try:
            for block in blocks:
                sender.send(block)
        except BrokenPipeError:
            finish(child)
            raise ToolError("The process that writes the files ended before it had read all.") from None
        child.write(MESSAGE.pack(END, 0, 0))
        finish(child)
    found = json.loads(Path(job.report).read_bytes())
    return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})
