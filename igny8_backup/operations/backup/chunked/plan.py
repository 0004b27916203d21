"""Decide the kind of a dump in chunks, and to which packs the dump can refer: :func:`plan_dump`."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from igny8_backup.catalog.annotations import read_marks
from igny8_backup.chunks import cutter
from igny8_backup.chunks.chunk_map import ChunkMap, MapPack, open_map
from igny8_backup.chunks.kinds import LastDump, choose_kind
from igny8_backup.chunks.locations import KEY_BYTES
from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL, ChunkedDump, chunk_folder
from igny8_backup.formats.manifest import COMPLETE, DatabasePart
from igny8_backup.formats.objects import StoredObject
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True, kw_only=True)
class DumpPlan:
    """The kind of a dump in chunks, and the packs of earlier dumps to which it can refer.

    If the dump is a full one although none is due yet, ``reason`` says why; otherwise it is empty.
    ``chunk_map`` is the open map of earlier dumps; it is ``None`` for a full dump. ``allowed`` contains the
    packs to which the dump can refer, by name. ``key`` and ``seed`` are the secrets of the map. ``full_id``,
    ``full_started`` and ``differential_id`` are the fields of ``ChunkedDump``.
    """

    kind: str
    reason: str
    average: int
    key: bytes = field(repr=False)
    seed: int = field(repr=False)
    full_id: str
    full_started: datetime
    differential_id: str = ""
    chunk_map: ChunkMap | None = None
    allowed: Mapping[str, StoredObject] = field(default_factory=dict)

    def close(self) -> None:
        if self.chunk_map:
            self.chunk_map.close()


def map_path(context: BackupContext, alias: str) -> Path:
    """Return the path of the map of chunks for the database ``alias`` on this host."""
    return context.config.state_dir / "chunks" / context.config.host / f"{alias}.map"


def plan_dump(
    context: BackupContext,
    part: DatabasePart,
    backup_id: str,
    *,
    forced: str,
    size: int | None,
    damaged: Collection[str],
) -> DumpPlan:
    """Plan the dump of ``part`` in the backup ``backup_id``. Close the plan after use.

    ``forced`` is the kind of dump that the user demands, or empty. ``size`` is the size of the database in
    bytes. ``damaged`` are the keys of objects that are known to be damaged. Raises ``StorageError``, and
    ``FilesError`` if the map of chunks cannot be read.
    """
    stored = {
        item.key: item.size for item in context.store.list(chunk_folder(context.config.host, part.alias))
    }
    path = map_path(context, part.alias)
    why_full = f"there is no map of its chunks in {path.parent}" if stored else ""
    found, last = None, None
    try:
        found = open_map(path)
    except IntegrityError:
        why_full = f"the map of its chunks is damaged: {path}"
    except OSError as error:
        what = f"The map of chunks {path} cannot be read: {error.strerror}."
        raise FilesError(what, hint="Check the permissions of IGNY8_BACKUP['STATE_DIR'].") from None
    average = cutter.suitable_average(size or 0, found.header.cutter.average if found else cutter.AVERAGE)
    try:
        known: dict[str, StoredObject] = {}
        if found:
            why_full, last, known = _judge(context, part, found, average, stored, damaged)
        choice = choose_kind(
            part.started,
            LastDump(started=last.started, full_started=_chunked(last).full_started) if last else None,
            full_every=context.config.full_every,
            forced=forced,
            why_full=why_full,
        )
    except BaseException:
        if found:
            found.close()
        raise
    if choice.kind == FULL or found is None or last is None:
        if found:
            found.close()
        return DumpPlan(
            kind=FULL,
            reason=choice.reason,
            average=average,
            key=secrets.token_bytes(KEY_BYTES),
            seed=1 + secrets.randbelow(cutter.SEED_LIMIT - 1),
            full_id=backup_id,
            full_started=part.started,
        )
    base = _chunked(last)
    if choice.kind == DIFFERENTIAL:
        known = {key: pack for key, pack in known.items() if keys.writer(key) == base.full_id}
    return DumpPlan(
        kind=choice.kind,
        reason=choice.reason,
        average=average,
        key=bytes.fromhex(found.header.key),
        seed=found.header.seed,
        full_id=base.full_id,
        full_started=base.full_started,
        differential_id=base.differential_id if choice.kind == INCREMENTAL else backup_id,
        chunk_map=found,
        allowed={keys.pack_of(key): pack for key, pack in known.items()},
    )


def lost_packs(context: BackupContext, part: DatabasePart) -> list[str]:
    """Return the keys of the packs and lists that ``part`` needs and that are missing from storage.

    The lists are those that describe the packs. Raises ``StorageError``.
    """
    if part.state != COMPLETE or not part.packs:
        return []
    folder = chunk_folder(context.config.host, part.alias)
    stored = {item.key: item.size for item in context.store.list(folder)}
    lost = [pack.key for pack in part.packs if stored.get(pack.key) != pack.stored_bytes]
    lists = sorted({pack.named_in.key for pack in part.packs if pack.named_in})
    return lost + [key for key in lists if not context.store.exists(key)]


def _judge(
    context: BackupContext,
    part: DatabasePart,
    found: ChunkMap,
    average: int,
    stored: Mapping[str, int],
    damaged: Collection[str],
) -> tuple[str, DatabasePart | None, dict[str, StoredObject]]:
    """Check whether a new dump can use the map ``found``; return three values.

    The first says why the map cannot be used; it is empty if the map can be used. The second is the last
    dump, the third maps keys to the packs to which the new dump can refer. ``stored`` maps the keys of the
    packs in storage to their sizes.
    """
    header = found.header
    place = (context.store.identity(), context.config.prefix, context.config.host, part.alias)
    if (header.storage, header.prefix, header.host, header.alias) != place:
        return "the map of its chunks belongs to another storage", None, {}
    if set(header.recipients) != set(context.codec.recipients):
        return "the recipients have changed", None, {}
    if header.cutter != cutter.identity(average):
        return "the cutter or the size of its chunks has changed", None, {}
    last, problem = _complete_part(context, header.backup_id, part.alias)
    if last is None:
        return problem, None, {}
    remembered = {pack.key: pack for pack in header.packs}
    usable, problem = _usable(last, remembered)
    if problem:
        return problem, None, {}
    lists = sorted({pack.named_in.key for pack in last.packs if pack.named_in})
    if gone := next((key for key in lists if not context.store.exists(key)), ""):
        return f"the list of packs {gone} is missing", None, {}
    full_id = _chunked(last).full_id
    if (full := _complete_part(context, full_id, part.alias)[0]) is not None:
        usable |= _usable(full, remembered)[0]
    marked = {mark.key for mark in read_marks(context.store)}
    lost = {
        key
        for key, pack in usable.items()
        if stored.get(key) != pack.stored_bytes or key in damaged or key in marked
    }
    if of_full := sorted(key for key in lost if keys.writer(key) == full_id):
        return f"the pack {of_full[0]} of the last full dump is missing or damaged", None, {}
    return "", last, {key: pack for key, pack in usable.items() if key not in lost}


def _usable(last: DatabasePart, remembered: Mapping[str, MapPack]) -> tuple[dict[str, StoredObject], str]:
    """Return the packs of the last dump by key, and a text that says why they cannot be used.

    The text is empty if the packs can be used. ``remembered`` are the packs in the map of this host. The
    manifest in storage must describe each pack as the map does. Otherwise somebody who can write to the
    storage could replace packs, and this host would sign a manifest that refers to the forged packs.
    """
    if last.packs_problem:
        return {}, "a list of its packs is missing or damaged"
    found: dict[str, StoredObject] = {}
    for pack in last.packs:
        own = remembered.get(pack.key)
        facts = (pack.stored_bytes, pack.raw_bytes, pack.sha256)
        if own is None or (own.stored_bytes, own.raw_bytes, own.sha256) != facts:
            return {}, "the manifest of its last dump in storage is not the one that this host wrote"
        found[pack.key] = replace(pack, blocks=b"")
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


def _chunked(part: DatabasePart) -> ChunkedDump:
    if part.chunked is None:
        raise ValueError(f"the dump of {part.alias} is not in chunks")
    return part.chunked
