"""Read the dump of a database, whether it is stored whole or as chunks: :func:`open_dump`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from igny8_backup.chunks.reader import read_archive, read_undamaged
from igny8_backup.chunks.runs import Index, read_index
from igny8_backup.databases.salvage import find_lost, without_lost
from igny8_backup.databases.values import LostData
from igny8_backup.errors import IntegrityError, damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.store import MissingObjectError
from igny8_backup.streams import Blocks, Pieces
from igny8_backup.streams.age import Identity


def open_dump(context: BackupContext, part: DatabasePart, identities: list[Identity]) -> Blocks:
    """Yield the main archive of the dump of ``part``, as ``pg_dump`` wrote it.

    A dump may have data archives, too: see :func:`open_archives`. Raises the errors of
    ``BackupContext.download``. For a dump in chunks, also raises ``IntegrityError`` if the index, the packs
    and the manifest do not fit together. Only the end of the stream proves that they do.
    """
    if part.chunked is None:
        yield from context.download(part.dump, identities)
        return
    index = read_dump_index(part, context.download(part.dump, identities))
    yield from archive_of(context, part, index, identities)


def open_archives(context: BackupContext, part: DatabasePart, identities: list[Identity]) -> list[Blocks]:
    """Return the streams of the archives of the dump of ``part``: the main archive, then its data archives.

    Nothing is read before the first block of a stream is requested. Each stream raises the errors of
    :func:`open_dump`.
    """
    return [
        open_dump(context, part, identities),
        *(context.download(archive, identities) for archive in part.data),
    ]


def read_dump_index(part: DatabasePart, blocks: Blocks) -> Index:
    """Parse the index of a dump in chunks, and compare it with the manifest.

    ``blocks`` are the decoded contents of the index. Raises ``IntegrityError`` if the index is damaged or
    describes another dump.
    """
    found = part.chunked
    packs = {keys.pack_of(pack.key): pack.raw_bytes for pack in part.stored_packs}
    try:
        index = read_index(blocks, part.dump.key, packs)
    except IntegrityError as error:
        error.object_key = error.object_key or part.dump.key
        raise
    header = index.header
    if found is None or (header.bytes, header.sha256) != (found.bytes, found.archive_sha256):
        other = damaged_backup(f"The index {part.dump.key} describes another dump than the manifest.")
        other.object_key = part.dump.key
        raise other
    return index


def find_damage(
    context: BackupContext, part: DatabasePart, identities: list[Identity], advance: Callable[[int], None]
) -> LostData:
    """Read all packs of a dump in chunks, and return which of its data are lost because of damaged packs.

    ``advance`` is called with numbers of bytes read. Raises ``IntegrityError`` if the index or the table of
    contents of the dump is damaged, and ``StorageError``.
    """
    index, damaged = read_dump_index(part, context.download(part.dump, identities)), set[str]()
    found = find_lost(_pieces(context, part, index, identities, damaged, advance))
    return replace(found, packs=frozenset(damaged))


def open_undamaged(
    context: BackupContext, part: DatabasePart, identities: list[Identity], lost: LostData
) -> Blocks:
    """Yield the dump of ``part`` without the data that :func:`find_damage` has found to be ``lost``.

    Raises the errors of :func:`find_damage`.
    """
    index = read_dump_index(part, context.download(part.dump, identities))
    yield from without_lost(_pieces(context, part, index, identities, set(lost.packs)), lost)


def _pieces(
    context: BackupContext,
    part: DatabasePart,
    index: Index,
    identities: list[Identity],
    damaged: set[str],
    advance: Callable[[int], None] = lambda size: None,
) -> Pieces:
    packs = {keys.pack_of(pack.key): pack for pack in part.stored_packs}

    def open_pack(name: str) -> Blocks:
        try:
            with closing(context.download(packs[name], identities)) as blocks:
                for block in blocks:
                    advance(len(block))
                    yield block
        except MissingObjectError as error:
            raise damaged_backup(error.what) from None

    sizes = {name: pack.raw_bytes for name, pack in packs.items()}
    return read_undamaged(index, sizes, open_pack, damaged)


def archive_of(
    context: BackupContext, part: DatabasePart, index: Index, identities: list[Identity]
) -> Blocks:
    """Yield the archive that ``index`` describes, from the packs of ``part``. Raises ``IntegrityError``."""
    packs = {keys.pack_of(pack.key): pack for pack in part.stored_packs}
    try:
        yield from read_archive(
            index,
            {name: pack.raw_bytes for name, pack in packs.items()},
            lambda name: context.download(packs[name], identities),
            name=f"The dump of the database {part.alias!r}",
        )
    except IntegrityError as error:
        if error.object_key in packs:  # the reader knows the names only
            error.object_key = packs[error.object_key].key
        raise
