"""Packs written out by a process of its own (``unpack_process``), seen from the process that decodes them.

Reading tars, hashing and writing small files is most of the work of a restore.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from igny8_backup.streams import Blocks
from igny8_backup.streams.child import Child
from igny8_backup.streams.shared_memory import Slots
from igny8_backup.trees.worker_protocol import END, MESSAGE, PACK, finish, give_job, own_process, send, sender


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where to write: the folder ``side``. ``records`` is the folder of a ``Partition`` that says what the index
    places in each pack: it is there, and may still be taking records. ``report`` is the file to write;
    ``allow_set_id`` is as for ``TreeWriter``."""

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


@contextmanager
def unpacker() -> Iterator[Unpacker]:
    """A process for the packs that one thread has to write out. It takes a tenth of a second to start: begin
    with it, and find out meanwhile what is to be written. Left before ``finish``, it is stopped.
    """
    with own_process("igny8_backup.trees.extract.worker") as (child, slots):
        yield Unpacker(child, slots)


class Unpacker:
    """Takes its job (``begin``), packs, one after the other, then tells what it was like (``finish``).

    The process is some blocks behind: what is wrong with a pack may be raised while another is given, or in
    the end: ``FilesError``, ``IntegrityError``.
    """

    def __init__(self, child: Child, slots: Slots) -> None:
        self._child = child
        self._sender = sender(child, slots)
        self._report: Path

    def begin(self, job: Job) -> None:
        """Says what to do."""
        self._report = Path(job.report)
        give_job(self._child, asdict(job))

    def unpack(self, name: str, blocks: Blocks) -> None:
        """Gives it the tar of the pack of this name. Raises what the blocks raise as well."""
        raw = os.fsencode(name)
        self._child.write(MESSAGE.pack(PACK, len(raw), 0) + raw)
        send(self._child, self._sender, blocks)

    def finish(self) -> Report:
        """Waits until all is written."""
        self._child.write(MESSAGE.pack(END, 0, 0))
        finish(self._child)
        found = json.loads(self._report.read_bytes())
        return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})

    def stop(self) -> None:
        """Ends the process, from any thread: one that is about to give it something, or waits for it, meets
        an error then."""
        self._child.terminate()
