"""Write the files of a tree from its packs, several packs at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from igny8_backup.formats.manifest import StoredObject
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.trees.extract.client import Job, Report, Unpacker, unpacker
from igny8_backup.trees.model.skips import OnSkip

READERS = 2
"""The number of packs that are read at the same time: one is decoded while the other waits for storage or
disk. Each needs about 20 MiB of memory."""


class _Stopped(Exception):
    """Reading a pack was stopped, because another pack has failed."""


@contextmanager
def unpackers(context: BackupContext, packs: int) -> Iterator[list[Unpacker]]:
    """Start the worker processes for a number of ``packs``. They are stopped if the ``with`` block raises."""
    with ExitStack() as stack:
        count = min(READERS if context.store.parallel_reads else 1, packs)
        yield [stack.enter_context(unpacker()) for _ in range(count)]


def extract_packs(
    context: BackupContext,
    processes: Collection[Unpacker],
    staging: Path,
    packs: Collection[tuple[str, StoredObject]],
    records: Path,
    identities: list[Identity],
    on_skip: OnSkip,
    on_bytes: Callable[[int], None],
    allow_set_id: bool,
) -> int:
    """Let ``processes`` write the files of ``packs`` (name and object) into the folder ``staging``.

    Returns how many files and folders could not be given to their owner. ``records`` is the folder of a
    ``Partition`` that holds the records of the index. Each file is in one pack only, so packs may be written
    in any order. ``on_bytes`` is called by one thread at a time.

    Raises ``IntegrityError``, ``FilesError`` or ``StorageError``; no further pack is begun then.
    """
    stopped = threading.Event()
    reporting = threading.Lock()

    def counted(blocks: Blocks) -> Blocks:
        with closing(blocks):
            for block in blocks:
                if stopped.is_set():
                    raise _Stopped
                with reporting:
                    on_bytes(len(block))
                yield block

    waiting = deque(packs)

    def extract(process: Unpacker) -> Report:
        try:
            process.begin(Job(staging=str(staging), records=str(records), allow_set_id=allow_set_id))
            while not stopped.is_set():
                try:
                    name, item = waiting.popleft()
                except IndexError:
                    break
                process.unpack(name, counted(context.download(item, identities)))
            return process.finish()
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(READERS, thread_name_prefix="igny8-backup-pack") as pool:
        try:
            futures = [pool.submit(extract, process) for process in processes]
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
    return sum(report.owners_left for report in reports)
