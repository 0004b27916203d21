"""Start an extract worker (``extract.worker``) and send it the packs, whose files it writes.

The worker is a process of its own, because most of the work of a restore is to read tars, to hash and to
write small files. Entry point: ``unpacker``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from igny8_backup.streams import Blocks
from igny8_backup.streams.account import Account
from igny8_backup.trees.worker_protocol import END, Message, Worker, start_worker


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an extract worker has to do: write the files of packs (tars) into the folder ``staging``.

    ``above`` is the folder that holds ``staging``, and ``inode`` the inode of ``staging``: the worker checks
    that nobody has replaced it. ``records`` is the folder of a ``Partition``, which holds the index records
    of each pack in a file. With ``allow_set_id``, set-user-ID and set-group-ID bits and capabilities of files
    are restored as well.

    A worker that runs as another user cannot reach these folders by their paths. It inherits descriptors of
    them, ``staging_fd`` and ``records_fd`` (-1 without), and writes contents only: see ``Handover``.
    """

    staging: str
    above: str
    inode: int
    records: str
    allow_set_id: bool = False
    staging_fd: int = -1
    records_fd: int = -1


@dataclass(kw_only=True)
class Report:
    """What an extract worker could not restore exactly.

    ``owners_left``: the number of files whose owner is not the recorded one. ``skipped``: pairs of a path
    (decoded by ``os.fsdecode``) and the reason why an attribute of that file could not be restored.
    """

    owners_left: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def unpacker(*, run_as: Account | None = None, pass_fds: Sequence[int] = ()) -> Iterator[Unpacker]:
    """Start an extract worker, and stop it at the end of the context.

    Only one thread may use the ``Unpacker``. The arguments are those of ``start_worker``.
    """
    with start_worker("igny8_backup.trees.extract.worker", run_as=run_as, pass_fds=pass_fds) as worker:
        yield Unpacker(worker)


class Unpacker:
    """A running extract worker, which writes the files of packs (tars).

    Call ``begin``, then ``unpack`` for each pack, then ``finish``. The worker is some blocks behind, so its
    error is raised by a later call of ``unpack`` or by ``finish``: ``FilesError`` or ``IntegrityError`` for
    a pack that it could not write, ``ToolError`` if the worker was killed.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, job: Job) -> None:
        """Send the worker its job. Call this once, before ``unpack``."""
        self._worker.begin(asdict(job))

    def unpack(self, name: str, blocks: Blocks) -> None:
        """Send the pack (tar) ``name`` to the worker, which writes the files in it.

        ``blocks`` are the bytes of the pack. An exception that is raised while they are read passes through.
        """
        self._worker.send_stream(blocks, os.fsencode(name))

    def finish(self) -> Report:
        """Wait until the worker has written all files, and return its report."""
        self._worker.send(Message(END))
        found = self._worker.result()
        return Report(**{**found, "skipped": [tuple(item) for item in found["skipped"]]})
