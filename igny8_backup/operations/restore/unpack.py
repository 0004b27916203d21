"""Download the packs of a tree and let several processes unpack them side by side."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.tree_packs import TreePacks
from igny8_backup.streams import Blocks
from igny8_backup.streams.account import restore_account
from igny8_backup.streams.interrupts import submit
from igny8_backup.streams.stop import Stop
from igny8_backup.trees.extract.client import Job, Report, Unpacker, unpacker
from igny8_backup.trees.extract.handover import Handover, handed_over
from igny8_backup.trees.extract.partition import read_records
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.safe_dirs import MadeFolder
from igny8_backup.trees.model.skips import OnSkip

READERS = 2
"""The number of packs that are read at the same time: one is decoded while the other waits for storage or
disk. Each needs about 20 MiB of memory."""


class _Stopped(Exception):
    """Reading a pack (tar archive) was stopped, because another pack has failed."""


@dataclass(frozen=True)
class Unpackers:
    """The processes that unpack tar archives.

    If they run as another user, ``handover`` has that user and the folders that the user writes to; otherwise
    it is None.
    """

    processes: tuple[Unpacker, ...]
    handover: Handover | None = None


@contextmanager
def unpackers(context: BackupContext, packs: int, staging: MadeFolder, records: Path) -> Iterator[Unpackers]:
    """Start the processes that unpack tar archives, and yield them.

    ``packs`` is the number of archives: no more processes than archives are started. ``staging`` is the
    folder to write the files into, ``records`` the folder of a ``Partition``. If this process is root, the
    processes run as ``RESTORE_USER``. They are stopped at the end of the ``with`` block.
    """
    account = restore_account(context.config.restore_user)
    with ExitStack() as stack:
        handover = stack.enter_context(handed_over(account, staging, records)) if account else None
        fds = handover.fds if handover else ()
        count = min(READERS if context.store.parallel_streams else 1, packs)
        started = [stack.enter_context(unpacker(run_as=account, pass_fds=fds)) for _ in range(count)]
        yield Unpackers(tuple(started), handover)


def extract_packs(
    workers: Unpackers,
    staging: MadeFolder,
    packs: TreePacks,
    names: Collection[str],
    records: Path,
    on_skip: OnSkip,
    on_bytes: Callable[[int], None],
    allow_set_id: bool,
) -> int:
    """Let ``workers`` write the files of the tar archives ``names`` into the folder ``staging``.

    ``packs`` reads these tar archives. Each file is in one pack only, so the packs can
    be unpacked in any order. ``records`` is the folder of a ``Partition``, in which the records of the index
    (file list) are stored. ``on_bytes`` is called with numbers of bytes read, by one thread at a time.
    ``on_skip`` is called for each attribute that cannot be restored. ``allow_set_id``: restore set-ID bits
    and capabilities of files.

    Returns how many files and folders did not get their recorded owner. Raises ``IntegrityError``,
    ``FilesError`` or ``StorageError``. After an error in one pack, no further pack is begun.
    """
    stopped, handover = Stop(), workers.handover
    if handover:
        handover.share_records(names)
    reporting = threading.Lock()

    def counted(blocks: Blocks) -> Blocks:
        with closing(blocks):
            for block in blocks:
                if stopped.is_set():
                    raise _Stopped
                with reporting:
                    on_bytes(len(block))
                yield block

    waiting = deque(names)

    def extract(process: Unpacker) -> Report:
        try:
            job = Job(
                staging=str(staging.path),
                above=str(staging.above),
                inode=staging.inode,
                records=str(records),
                allow_set_id=allow_set_id,
                staging_fd=handover.staging if handover else -1,
                records_fd=handover.records if handover else -1,
            )
            process.begin(job)
            while not stopped.is_set():
                try:
                    name = waiting.popleft()
                except IndexError:
                    break
                process.unpack(name, counted(packs.open(name)))
            return process.finish()
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(READERS, thread_name_prefix="igny8-backup-pack") as pool:
        try:
            futures = [submit(pool, stopped.call, extract, process) for process in workers.processes]
            wait(futures)
        except BaseException:
            stopped.set()
            raise
    failures = [error for future in futures if (error := future.exception())]
    if failures:
        raise next((error for error in failures if not isinstance(error, _Stopped)), failures[0])
    reports = [future.result() for future in futures]
    for report in reports:
        for path, reason in report.skipped:
            on_skip(os.fsencode(path), reason)
    if handover is None:
        return sum(report.owners_left for report in reports)
    with closing(TreeWriter(staging, on_skip=on_skip, allow_set_id=allow_set_id)) as writer:
        for name in names:
            writer.take_over(read_records(records / name), handover.account.uid)
        return writer.owners_left
