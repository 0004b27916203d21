"""A generated dump in chunks, of which storage has nearly all chunks: :func:`store_after_a_day`."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.texts import generator
from igny8_backup.chunks import cutter
from igny8_backup.chunks.chunk_map import SCHEMA, MapHeader, MapPack, open_map
from igny8_backup.chunks.cutter import Cutter
from igny8_backup.chunks.digests import KEY_BYTES, DigestKey
from igny8_backup.chunks.locations import PACK_BYTES, Location
from igny8_backup.chunks.map_writer import MapWriter
from igny8_backup.chunks.runs import Index, to_blocks
from igny8_backup.chunks.writer import ArchiveWriter
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import chunk_pack_key
from igny8_backup.streams import BLOCK, Blocks

if TYPE_CHECKING:
    from igny8_backup.operations.context import BackupContext

_STAMPED_EVERY = 4096
_CHANGED_EVERY = 256  # blocks
_STAMP = struct.Struct("<Q")
_KEY, _SEED = DigestKey(bytes(KEY_BYTES)), 7
_YESTERDAY, _TODAY = "20261122T021500Z-7f3a9c", "20261123T021500Z-7f3a9c"


def store_after_a_day(context: BackupContext, folder: Path, amount: int) -> Index:
    """Store a dump of ``amount`` bytes as the backup after a full one does, and write its map.

    The map of the full dump is made first, in the same process, without storing anything.
    """
    average = cutter.suitable_average(amount)
    path = folder / "default.map"
    _map_of_yesterday(context, path, average, amount)
    chunk_map = open_map(path)
    if chunk_map is None:
        raise ValueError(f"there is no map in {folder}")
    numbers = {keys.pack_of(found.key): number for number, found in enumerate(chunk_map.header.packs)}
    of_full, new = range(len(numbers)), count(1)
    with chunk_map, MapWriter(folder) as later:

        def record(digest: bytes, found: Location) -> None:
            later.add(digest, numbers.setdefault(found.pack, len(numbers)), found.offset, found.length)

        index = ArchiveWriter(
            Cutter(cutter.identity(average), _SEED),
            _KEY,
            find=chunk_map.lookup,
            new_name=lambda: keys.pack_name(_TODAY, next(new)),
            store=lambda name, content: context.upload(_pack_key(context, name)).send_at_once(content),
            record=record,
            behind=1,
        ).write(numbered(amount, day=1))
        context.upload("db/default.runs.zst.age").send(to_blocks(index))
        later.write(path, _header(context, average, numbers), chunk_map.entries(), of_full)
    return index


def numbered(amount: int, *, day: int) -> Blocks:
    """Yield about ``amount`` bytes in which nothing repeats; one block in 256 differs from day to day."""
    block = bytearray(generator("stream").randbytes(BLOCK))
    for number in range(amount // BLOCK):
        stamp = number << 1 | (day if number % _CHANGED_EVERY == 0 else 0)
        for at in range(0, BLOCK, _STAMPED_EVERY):
            _STAMP.pack_into(block, at, stamp << 16 | at // _STAMPED_EVERY)
        yield bytes(block)


def _map_of_yesterday(context: BackupContext, path: Path, average: int, amount: int) -> None:
    with MapWriter(path.parent) as writer:
        number = offset = 0
        for chunk in Cutter(cutter.identity(average), _SEED).cut(numbered(amount, day=0)):
            if offset + len(chunk) > PACK_BYTES:
                number, offset = number + 1, 0
            writer.add(_KEY.digest(chunk), number, offset, len(chunk))
            offset += len(chunk)
        names = (keys.pack_name(_YESTERDAY, 1 + one) for one in range(number + 1))
        writer.write(path, _header(context, average, names))


def _header(context: BackupContext, average: int, names: Iterable[str]) -> MapHeader:
    return MapHeader(
        schema=SCHEMA,
        storage=context.store.identity(),
        prefix="",
        host=context.config.host,
        alias="default",
        recipients=tuple(context.codec.recipients),
        cutter=cutter.identity(average),
        key=_KEY.text,
        seed=_SEED,
        backup_id=_YESTERDAY,
        started=keys.id_time(_YESTERDAY),
        full_id=_YESTERDAY,
        lists=(),
        packs=tuple(_pack(context, name) for name in names),
    )


def _pack(context: BackupContext, name: str) -> MapPack:
    return MapPack(
        key=_pack_key(context, name),
        stored_bytes=PACK_BYTES,
        raw_bytes=PACK_BYTES,
        sha256="0" * 64,
        listed_in=-1,
        of_full=name.startswith(_YESTERDAY),
        written="",
    )


def _pack_key(context: BackupContext, name: str) -> str:
    return chunk_pack_key(context.config.host, "default", name, context.codec.suffix)
