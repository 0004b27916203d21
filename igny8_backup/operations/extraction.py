"""The packs of a tree written out, several at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from igny8_backup.manifest import StoredObject
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.trees.skips import OnSkip
from igny8_backup.trees.spool import Spool
from igny8_backup.trees.unpack import Job, Report, Unpacker, unpacker

READERS = 2
"""Packs at a time: while one waits for storage or the disk, the other goes on. Each takes about 20 MiB."""


class _Stopped(Exception):
    """Another pack has failed: this one is of no use any more."""


@contextmanager
def unpackers(kit: Toolkit, packs: int) -> Iterator[list[Unpacker]]:
    """The processes that write out so many packs. Left early, they are stopped."""
    with ExitStack() as stack:
        count = min(READERS if kit.store.parallel_reads else 1, packs)
        yield [stack.enter_context(unpacker()) for _ in range(count)]


def extract_packs(
    kit: Toolkit,
    processes: Collection[Unpacker],
    side: Path,
    packs: Collection[tuple[str, StoredObject]],
    records: Spool,
    identities: list[Identity],
    *,
    on_skip: OnSkip,
    on_bytes: Callable[[int], None],
    allow_set_id: bool,
) -> int:
    """Has the ``processes`` write the files of the packs (name and object) below ``side``; returns how many
    kept this user as their owner.

    The index places a file in one pack only, so their order does not matter. ``on_bytes`` is called by one
    thread at a time. Raises ``IntegrityError``, ``FilesError``, ``StorageError``, and stops the others then.
    """
    stopped = threading.Event()
    told = threading.Lock()

    def counted(blocks: Blocks) -> Blocks:
        with closing(blocks):
            for block in blocks:
                if stopped.is_set():
                    raise _Stopped
                with told:
                    on_bytes(len(block))
                yield block

    waiting = deque(packs)

    def extract(number: int, process: Unpacker) -> Report:
        process.begin(
            Job(
                side=str(side),
                records=str(records.folder),
                report=str(records.folder / f"report-{number}"),
                allow_set_id=allow_set_id,
            )
        )
        while not stopped.is_set():
            try:
                name, item = waiting.popleft()
            except IndexError:
                break
            process.unpack(name, counted(kit.download(item, identities)))
        return process.finish()

    with ThreadPoolExecutor(READERS, thread_name_prefix="igny8-backup-pack") as pool:
        futures = [pool.submit(extract, *numbered) for numbered in enumerate(processes)]
        try:
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failures = [error for future in ended if (error := future.exception())]
            if failures:
                raise next((error for error in failures if not isinstance(error, _Stopped)), failures[0])
        except BaseException:
            stopped.set()
            raise
    reports = [future.result() for future in futures]
    for report in reports:
        for path, reason in report.skipped:
            on_skip(os.fsencode(path), reason)
    return sum(report.owners_left for report in reports)
