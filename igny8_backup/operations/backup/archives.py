"""Store a dump in several archives, which several connections make: :func:`store_archives`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial

from igny8_backup.databases.dump_streams import DumpStreams, archive_names
from igny8_backup.errors import StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.thread_context import context_for_thread
from igny8_backup.streams import Blocks
from igny8_backup.streams.side_by_side import Guard, run_side_by_side


def store_archives(
    context: BackupContext,
    backup_id: str,
    part: DatabasePart,
    dump: DumpStreams,
    *,
    kind: str,
    size: int,
) -> DatabasePart:
    """Store the archives of ``dump`` side by side; return ``part`` with them.

    ``kind`` is that of the engine's dumps, ``size`` the size of the database in bytes. Raises
    ``StorageError`` and the errors of ``dump``. The archives that were stored until then are deleted. If
    storage does not let this run delete an archive, a later ``prune_backups`` deletes it as an orphan.
    """
    codec, names = context.codec, archive_names(len(dump.archives))
    if dump.at_once > 1:
        # The compressors run beside one another. Threads of their own would need more memory.
        codec = replace(codec, workers=0)
    stored: list[str] = []

    def store(name: str, blocks: Blocks, guard: Guard) -> StoredObject:
        key = keys.database_key(backup_id, part.alias, f"{name}{kind}", codec.suffix)
        with context_for_thread(context) as own:
            done = own.upload(key, codec=codec, claimed=True).send(guard(blocks), estimate=size)
        stored.append(key)
        return done

    try:
        main, *data = run_side_by_side(
            [partial(store, name, blocks) for name, blocks in zip(names, dump.archives, strict=True)],
            dump.at_once,
        )
    except BaseException:
        for key in stored:
            with suppress(StorageError):
                context.store.delete(key)
        raise
    return replace(part, object=main, data=tuple(data))
