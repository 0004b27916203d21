"""Verify the contents of a dump: convert it to SQL, whether it is stored whole or in chunks."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from igny8_backup.databases.verify_dump import read_dump
from igny8_backup.errors import IntegrityError
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.dump import archive_of, read_dump_index
from igny8_backup.operations.verify.attempt import Attempt
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity


def read_database(
    context: BackupContext,
    part: DatabasePart,
    identities: list[Identity],
    chosen: set[str],
    attempt: Attempt,
) -> None:
    """Read the objects of the dump of ``part`` that have a key in ``chosen``.

    Each object is read with the function ``attempt``, which records damage. If the index of a dump in chunks
    is chosen, all packs of the dump are read one by one, so that damage is recorded for the right pack. If
    all are sound, the archive is put together and read to its end with ``pg_restore``.

    Raises ``ToolMissingError`` or ``ToolTooOldError`` if ``pg_restore`` is missing or too old.
    """
    config = context.config
    convert = partial(
        read_dump,
        part=part,
        bin_dir=config.client_bin_dir,
        scratch=config.scratch_dir,
        user=config.restore_user,
    )
    if part.chunked is None:
        for archive in part.archives:
            attempt(archive, convert)
        return

    def read_archive(index: StoredObject, blocks: Blocks) -> None:
        convert(archive_of(context, part, read_dump_index(part, index, blocks), identities))

    indexes = [index for index in part.archives if index.key in chosen]
    sound = [attempt(pack, partial(read_pack, pack)) for pack in part.packs if indexes or pack.key in chosen]
    if all(sound):
        for index in indexes:
            attempt(index, partial(read_archive, index))


def read_pack(pack: StoredObject, blocks: Blocks) -> None:
    """Read ``blocks``, the contents of a pack of chunks. Raises ``IntegrityError`` for another size."""
    size = 0
    with closing(blocks):
        for block in blocks:
            size += len(block)
            if size > pack.raw_bytes:
                break
    if size != pack.raw_bytes:
        raise IntegrityError(f"{pack.key} does not contain the {pack.raw_bytes} bytes that were written.")
