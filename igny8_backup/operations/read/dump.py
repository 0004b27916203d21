"""Read the dump of a database, whether it is stored whole or as chunks: :func:`open_dump`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from igny8_backup.chunks.reader import KEPT_BYTES, read_undamaged
from igny8_backup.chunks.runs import Index, read_index
from igny8_backup.databases.salvage import LostContentsError, find_lost, without_lost
from igny8_backup.databases.values import LostData
from igny8_backup.errors import IntegrityError, damaged_backup
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import ChunkedArchive
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.chunked import read_chunked
from igny8_backup.operations.read.thread_context import context_for_thread
from igny8_backup.store import MissingObjectError
from igny8_backup.streams import Blocks, Pieces
from igny8_backup.streams.age import Identity
from igny8_backup.streams.side_by_side import MOST_STREAMS

_READER_BYTES = 22 << 20
"""The memory that a further reader of chunks needs beside the bytes that it keeps: a pack of 8 MiB,
the blocks from which it is decoded, and the buffers of a client program."""


def open_dump(context: BackupContext, part: DatabasePart, identities: list[Identity]) -> Blocks:
    """Yield the main archive of the dump of ``part``, as ``pg_dump`` wrote it.

    A dump may have data archives, too: see :func:`open_archives`. Raises the errors of
    ``BackupContext.download``. For a dump in chunks, also raises ``IntegrityError`` if the index, the packs
    and the manifest do not fit together. Only the end of the stream proves that they do.
    """
    yield from _open_archive(context, part, identities, 0, KEPT_BYTES)


def open_archives(context: BackupContext, part: DatabasePart, identities: list[Identity]) -> list[Blocks]:
    """Return the streams of the archives of the dump of ``part``: the main archive, then its data archives.

    Nothing is read before the first block of a stream is requested. Each stream raises the errors of
    :func:`open_dump`.
    """
    count = len(part.archives)
    if count == 1:
        return [open_dump(context, part, identities)]
    kept = kept_bytes_of(min(count, MOST_STREAMS))
    return [_open_in_thread(context, part, identities, number, kept) for number in range(count)]


def _open_in_thread(
    context: BackupContext, part: DatabasePart, identities: list[Identity], number: int, kept_bytes: int
) -> Blocks:
    with context_for_thread(context) as own:
        yield from _open_archive(own, part, identities, number, kept_bytes)


def kept_bytes_of(readers: int) -> int:
    """Return how many bytes each of several readers of chunks may keep, given their number.

    Beside them, each reader has a pack of 8 MiB, and the blocks from which it is decoded.
    """
    return (KEPT_BYTES - (readers - 1) * _READER_BYTES) // readers


def _open_archive(
    context: BackupContext, part: DatabasePart, identities: list[Identity], number: int, kept_bytes: int
) -> Blocks:
    archive = part.archives[number]
    if part.chunked is None:
        yield from context.download(archive, identities)
        return
    index = read_dump_index(part, archive, context.download(archive, identities))
    yield from archive_of(context, part, index, identities, kept_bytes)


def read_dump_index(part: DatabasePart, archive: StoredObject, blocks: Blocks) -> Index:
    """Parse the index ``archive`` of a dump in chunks, and compare it with the manifest.

    ``blocks`` are the decoded contents of the index. Raises ``IntegrityError`` if the index is damaged or
    describes another dump.
    """
    packs = {keys.pack_of(pack.key): pack.raw_bytes for pack in part.stored_packs}
    try:
        index = read_index(blocks, archive.key, packs)
    except IntegrityError as error:
        error.object_key = error.object_key or archive.key
        raise
    header = index.header
    described = dict(zip(part.archives, part.chunked.archives, strict=True)) if part.chunked else {}
    if described.get(archive) != ChunkedArchive(bytes=header.bytes, archive_sha256=header.sha256):
        other = damaged_backup(f"The index {archive.key} describes another dump than the manifest.")
        other.object_key = archive.key
        raise other
    return index


def find_damage(
    context: BackupContext,
    part: DatabasePart,
    details: DatabaseDetails,
    identities: list[Identity],
    advance: Callable[[int], None],
) -> LostData:
    """Read all packs of a dump in chunks, and return which of its data are lost because of damaged packs.

    If the table of contents of a data archive is damaged, all tables in it are lost: those that ``details``
    name and that are in no other archive. ``advance`` is called with numbers of bytes read. Raises
    ``IntegrityError`` if an index or the table of contents of the main archive is damaged, and
    ``StorageError``.
    """
    damaged, unreadable = set[str](), set[int]()
    readable: list[LostData] = []
    for number, archive in enumerate(part.archives):
        try:
            readable.append(find_lost(_pieces(context, part, archive, identities, damaged, advance)))
        except LostContentsError:
            if number == 0 or not details.row_counts:
                raise
            unreadable.add(number)
    main, *data = readable
    found = {table for one in readable for table in one.found}
    tables = {table for one in readable for table in one.tables}
    if unreadable:
        tables |= details.row_counts.keys() - found
    return LostData(
        packs=frozenset(damaged),
        entries=main.entries,
        data=tuple(one.entries for one in data),
        archives=frozenset(unreadable),
        found=frozenset(found),
        tables=tuple(sorted(tables)),
        large_objects=main.large_objects,
    )


def open_undamaged(
    context: BackupContext, part: DatabasePart, identities: list[Identity], lost: LostData
) -> list[Blocks]:
    """Return the streams of the archives of ``part`` without the data that are ``lost``.

    :func:`find_damage` has found them. The streams raise its errors.
    """

    def undamaged(position: int, archive: StoredObject) -> Blocks:
        with context_for_thread(context) as own:
            pieces = _pieces(own, part, archive, identities, set(lost.packs))
            yield from without_lost(pieces, lost.of_archive(position))

    readable = [one for number, one in enumerate(part.archives) if number not in lost.archives]
    return [undamaged(position, archive) for position, archive in enumerate(readable)]


def _pieces(
    context: BackupContext,
    part: DatabasePart,
    archive: StoredObject,
    identities: list[Identity],
    damaged: set[str],
    advance: Callable[[int], None] = lambda size: None,
) -> Pieces:
    index = read_dump_index(part, archive, context.download(archive, identities))
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
    kept = kept_bytes_of(min(len(part.archives), MOST_STREAMS))
    yield from read_undamaged(index, sizes, open_pack, damaged, kept_bytes=kept)


def archive_of(
    context: BackupContext,
    part: DatabasePart,
    index: Index,
    identities: list[Identity],
    kept_bytes: int = KEPT_BYTES,
) -> Blocks:
    """Yield the archive that ``index`` describes, from the packs of ``part``. Raises ``IntegrityError``.

    ``kept_bytes`` limits the bytes of packs that are kept for later.
    """
    packs = {keys.pack_of(pack.key): pack for pack in part.stored_packs}
    name = f"The dump of the database {part.alias!r}"
    yield from read_chunked(context, index, packs, identities, name=name, kept_bytes=kept_bytes)
