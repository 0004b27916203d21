"""Read and store objects in several threads, also in storages whose clients allow one thread only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from igny8_backup.operations.context import BackupContext


@contextmanager
def context_for_thread(context: BackupContext) -> Iterator[BackupContext]:
    """Yield a context for a thread that reads or stores objects while other threads do so, too.

    If several threads must not use the storage of ``context`` at the same time, as with SFTP, the new context
    has a connection of its own. It is closed at the end of the ``with`` block.
    """
    if context.store.parallel_streams or context.again is None:
        yield context
        return
    with context.again() as store:
        yield replace(context, store=store)
