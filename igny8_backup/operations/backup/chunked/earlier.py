"""Find the packs in storage to which a new dump can refer: :func:`find_earlier`, :func:`find_tried`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from igny8_backup.catalog.annotations import read_marks
from igny8_backup.chunks import cutter
from igny8_backup.chunks.chunk_map import SCHEMA, ChunkMap, MapHeader, MapPack, open_map
from igny8_backup.chunks.map_writer import MapWriter
from igny8_backup.chunks.try_log import TriedDump
from igny8_backup.common.clock_skew import is_ahead
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import ChunkedDump, chunk_folder
from igny8_backup.formats.lists import ListedObject
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.store import Stored


@dataclass(frozen=True, kw_only=True)
class EarlierPack:
    """A pack in storage to which a new dump can refer. ``of_full``: the pack belongs to the full dump.

    ``written`` is a text that changes if the pack is written anew, or empty.
    """

    pack: StoredObject
    of_full: bool
    written: str


@dataclass(frozen=True)
class PacksInStorage:
    """The packs of a database that storage lists, by key. New dumps must not refer to those in ``bad``.

    ``bad`` are the keys of objects that are known to be damaged, or that are marked as orphans.
    """

    listed: Mapping[str, Stored]
    bad: Collection[str]

    def has(self, key: str, size: int, written: str = "") -> bool:
        """Return whether storage has the pack ``key`` with this ``size``, and nobody has written it anew.

        ``written`` is the ``Stored.written`` that it should have, if that is known.
        """
        found = self.listed.get(key)
        return (
            found is not None
            and found.size == size
            and key not in self.bad
            and written in ("", found.written)
        )


@dataclass(frozen=True)
class Earlier:
    """The dumps on which a new dump can be based: the ``last`` one, and the ``packs`` by name.

    If there is no such dump, ``problem`` says why.
    """

    problem: str = ""
    last: DatabasePart | None = None
    packs: Mapping[str, EarlierPack] = field(default_factory=dict)


def list_packs(context: BackupContext, alias: str, damaged: Collection[str]) -> PacksInStorage:
    """List the packs of a database. ``damaged`` are keys that are known to be damaged.

    Raises ``StorageError``.
    """
    listed = {item.key: item for item in context.store.list(chunk_folder(context.config.host, alias))}
    marked = {mark.key for mark in read_marks(context.store)} if listed else set()
    return PacksInStorage(listed, frozenset(damaged) | marked)


def find_earlier(
    context: BackupContext, part: DatabasePart, found: ChunkMap, average: int, stored: PacksInStorage
) -> Earlier:
    """Find the packs in the map ``found`` to which a new dump of ``part`` can refer.

    ``average`` is the average size of the chunks of the new dump, ``stored`` are the packs in storage. Raises
    ``StorageError``.
    """
    header = found.header
    place = (context.store.identity(), context.config.prefix, context.config.host, part.alias)
    if (header.storage, header.prefix, header.host, header.alias) != place:
        return Earlier("the map of its chunks belongs to another storage")
    if set(header.recipients) != set(context.codec.recipients):
        return Earlier("the recipients have changed")
    if header.cutter != cutter.identity(average):
        return Earlier("the cutter or the size of its chunks has changed")
    last, problem = _complete_part(context, header.backup_id, part.alias)
    if last is None:
        return Earlier(problem)
    usable, problem = _usable(last, header)
    if problem:
        return Earlier(problem)
    lists = sorted({header.lists[pack.listed_in].key for _, pack in usable.values()})
    if gone := next((key for key in lists if key in stored.bad or not context.store.exists(key)), ""):
        return Earlier(f"the list of packs {gone} is missing or damaged")
    if last.chunked and (full := _complete_part(context, last.chunked.full_id, part.alias)[0]) is not None:
        usable |= _usable(full, header)[0]
    lost = {key for key, (_, own) in usable.items() if not stored.has(key, own.stored_bytes, own.written)}
    if of_full := sorted(key for key in lost if usable[key][1].of_full):
        return Earlier(f"the pack {of_full[0]} of the last full dump is missing or damaged")
    packs = {
        keys.pack_of(key): EarlierPack(pack=pack, of_full=own.of_full, written=own.written)
        for key, (pack, own) in usable.items()
        if key not in lost
    }
    return Earlier(last=last, packs=packs)


def find_tried(
    context: BackupContext, alias: str, tried: TriedDump, average: int, stored: PacksInStorage
) -> tuple[TriedDump, dict[str, EarlierPack]] | None:
    """Return the log ``tried`` and its packs by name, if a new dump of ``alias`` can use them, else ``None``.

    The log is that of a dump that ended early. ``average`` is the average chunk size of the new dump.
    """
    header, now = tried.header, context.clock()
    wanted = (context.store.identity(), context.config.prefix, context.config.host, alias)
    if (header.storage, header.prefix, header.host, header.alias) != wanted:
        return None
    if set(header.recipients) != set(context.codec.recipients) or header.cutter != cutter.identity(average):
        return None
    if is_ahead(header.started, now) or now - header.started > context.config.full_every:
        return None
    packs = {
        keys.pack_of(pack.key): EarlierPack(
            pack=_stored(pack), of_full=header.full, written=stored.listed[pack.key].written
        )
        for pack in tried.packs
        if stored.has(pack.key, pack.stored_bytes)
    }
    return tried, packs


def map_of_tried(tried: TriedDump, packs: Mapping[str, EarlierPack], folder: Path) -> ChunkMap:
    """Return a map of the chunks in ``packs``, which an attempt that ended early has stored.

    Its file in ``folder`` has no name.

    Raises ``OSError``.
    """
    numbers = {name: number for number, name in enumerate(packs)}
    of_log = [numbers.get(keys.pack_of(pack.key)) for pack in tried.packs]
    header = MapHeader(
        schema=SCHEMA,
        storage=tried.header.storage,
        prefix=tried.header.prefix,
        host=tried.header.host,
        alias=tried.header.alias,
        recipients=tried.header.recipients,
        cutter=tried.header.cutter,
        key=tried.header.key,
        seed=tried.header.seed,
        backup_id="",
        started=tried.header.started,
        full_id="",
        lists=(),
        packs=tuple(
            MapPack.of(item.pack, of_full=item.of_full, written=item.written) for item in packs.values()
        ),
    )
    path = folder / f"{tried.header.alias}.tried"
    with MapWriter(folder) as writer:
        for number, digest, offset, length in tried.entries():
            if (found := of_log[number]) is not None:
                writer.add(digest, found, offset, length)
        writer.write(path, header)
    try:
        chunk_map = open_map(path)
    finally:
        path.unlink()
    if chunk_map is None:
        raise FileNotFoundError(path)
    return chunk_map


def _usable(dump: DatabasePart, header: MapHeader) -> tuple[dict[str, tuple[StoredObject, MapPack]], str]:
    """Return the packs of a dump by key, and a text that says why they cannot be used (empty: they can).

    Each pack must be described by the same list as when this host wrote or checked that list. The digest of
    the list covers the sizes and digests of its packs and of their blocks. Otherwise somebody who can write
    to the storage could replace packs or digests, and this host would sign a manifest that refers to them.
    """
    if dump.packs_problem:
        return {}, "a list of its packs is missing or damaged"
    remembered = {pack.key: pack for pack in header.packs}
    found: dict[str, tuple[StoredObject, MapPack]] = {}
    for pack in dump.packs:
        own = remembered.get(pack.key)
        if own is None or not 0 <= own.listed_in < len(header.lists):
            return {}, "the map of its chunks does not know all packs of its last dump"
        if pack.named_in != header.lists[own.listed_in]:
            return {}, "the manifest of its last dump in storage is not the one that this host wrote"
        found[pack.key] = replace(pack, blocks=b""), own
    return found, ""


def _complete_part(context: BackupContext, backup_id: str, alias: str) -> tuple[DatabasePart | None, str]:
    """Return the complete dump in chunks of ``alias`` in a backup, or ``None`` and why there is none."""
    entry = next(iter(context.catalog.entries([backup_id])), None)
    if entry is None:
        return None, f"storage no longer has the backup {backup_id}"
    if entry.manifest is None:
        return None, f"the manifest of the backup {backup_id} cannot be read from storage"
    if entry.untrusted:
        return None, f"the backup {backup_id} is not trusted: {entry.untrusted}"
    if entry.manifest.replaces:
        return None, f"the recipients of the backup {backup_id} were changed"
    for part in entry.manifest.databases:
        if (part.alias, part.state) == (alias, COMPLETE) and part.chunked:
            return part, ""
    return None, f"the backup {backup_id} has no complete dump of it in chunks"


def chunked_of(part: DatabasePart) -> ChunkedDump:
    """Return what the manifest says about the chunks of a dump in chunks."""
    if part.chunked is None:
        raise ValueError(f"the dump of {part.alias} is not in chunks")
    return part.chunked


def _stored(pack: ListedObject) -> StoredObject:
    return StoredObject(
        key=pack.key,
        stored_bytes=pack.stored_bytes,
        raw_bytes=pack.raw_bytes,
        sha256=pack.sha256,
        codecs=pack.codecs,
        blocks=pack.digests(),
    )
