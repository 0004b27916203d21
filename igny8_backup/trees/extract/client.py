"""Write packs out in a worker process (``extract.worker``), from the process that decodes them.

Reading tars, hashing and writing small files is most of the work of a restore.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from igny8_backup.streams import Blocks
from igny8_backup.trees.worker_protocol import END, Message, Worker, start_worker


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where the extract worker writes.

    ``staging`` is the folder to write into. ``records`` is the folder of a ``Partition`` with the records of
    each pack. ``allow_set_id`` is as for ``TreeWriter``.
    """

    staging: str
    records: str
    allow_set_id: bool = False


@dataclass(kw_only=True)
class Report:
    """``owners_left``: files and folders whose owner is not the recorded one. ``skipped``: path (as
    ``os.fsdecode`` decodes it) and what could not be restored."""

    owners_left: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def unpacker() -> Iterator[Unpacker]:
    """Start a worker for the packs that one thread decodes. It is stopped at the end of the context."""
    with start_worker("igny8_backup.trees.extract.worker") as worker:
        yield Unpacker(worker)


class Unpacker:
    """Sends a job (``begin``), then packs one after the other; ``finish`` waits for the report.

    The worker is some blocks behind: what is wrong with a pack (``FilesError``, ``IntegrityError``) may be
    raised while a later pack is sent, or by ``finish``.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, job: Job) -> None:
        """Send the job."""
        self._worker.begin(asdict(job))

    def unpack(self, name: str, blocks: Blocks) -> None:
        """Send the tar of the pack of this name. Raises what ``blocks`` raise as well."""
        self._worker.send_stream(blocks, os.fsencode(name))

    def finish(self) -> Report:
        """Wait until everything is written."""
        self._worker.send(Message(END))
        found = self._worker.result()
        return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})
