"""Start and control an extract worker (``extract.worker``), which writes packs out, and send it the packs.

A process of its own is worth it, because reading tars, hashing and writing small files is most of the work
of a restore. Entry point: ``unpacker``.
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
    """What an extract worker has to do: write the files of packs (tars) into the folder ``staging``.

    ``records`` is the folder that holds one file of index records for each pack, made by ``Partition``.
    ``allow_set_id``: restore set-user-ID and set-group-ID bits and capabilities of files as well.
    """

    staging: str
    records: str
    allow_set_id: bool = False


@dataclass(kw_only=True)
class Report:
    """What an extract worker could not restore exactly.

    ``owners_left``: the number of files and folders whose owner is not the recorded one. ``skipped``: each
    path (decoded by ``os.fsdecode``) with an attribute that could not be restored, and the reason.
    """

    owners_left: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def unpacker() -> Iterator[Unpacker]:
    """Start an extract worker. The worker is stopped at the end of the context. One thread may use it."""
    with start_worker("igny8_backup.trees.extract.worker") as worker:
        yield Unpacker(worker)


class Unpacker:
    """A running extract worker, which writes out packs (tars).

    Call ``begin``, then ``unpack`` for each pack, then ``finish``. The worker is some blocks behind, so an
    error in a pack (``FilesError``, ``IntegrityError``) may be raised by a later call. Every method raises
    ``ToolError`` if the worker was killed.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, job: Job) -> None:
        """Send the worker its job. Call this once, before ``unpack``."""
        self._worker.begin(asdict(job))

    def unpack(self, name: str, blocks: Blocks) -> None:
        """Send the pack (tar) ``name``, whose bytes are ``blocks``, to the worker, which writes its files.

        An exception that is raised while ``blocks`` is read passes through.
        """
        self._worker.send_stream(blocks, os.fsencode(name))

    def finish(self) -> Report:
        """Wait until the worker has written all files, and return its report."""
        self._worker.send(Message(END))
        found = self._worker.result()
        return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})
