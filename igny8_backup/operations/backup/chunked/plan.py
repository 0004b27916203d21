"""Decide the kind of a dump in chunks, and to which packs the dump can refer: :func:`plan_dump`."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from igny8_backup.chunks import cutter, full_tries
from igny8_backup.chunks.chunk_map import ChunkMap, open_map
from igny8_backup.chunks.digests import DigestKey
from igny8_backup.chunks.kinds import Choice, LastDump, choose_kind
from igny8_backup.chunks.try_log import TriedDump
from igny8_backup.databases.dump_streams import Placement
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.backup.chunked.earlier import (
    Earlier,
    EarlierPack,
    PacksInStorage,
    chunked_of,
    find_earlier,
    find_tried,
    list_packs,
    map_of_tried,
)
from igny8_backup.operations.backup.chunked.state_files import (
    map_path,
    read_tried,
    state_error,
    tries_path,
    unreadable,
)
from igny8_backup.operations.context import BackupContext


@dataclass(frozen=True, kw_only=True)
class DumpPlan:
    """The kind of a dump in chunks, and the packs of earlier dumps to which it can refer.

    If the dump is a full one although none is due yet, ``reason`` says why; otherwise it is empty. ``due``: a
    full dump is due, or an earlier run tried to make one and did not complete it (``again``). If ``due`` is
    true and the dump is not full, earlier attempts have failed. ``chunk_map`` is the open map of earlier
    dumps; it is ``None`` for a full dump. If the last attempt at a full dump, or at any other one, ended
    early, ``tried`` is its log, and ``tried_map`` is a map of the chunks that it has stored. ``allowed``
    contains the packs to which the dump can refer, by name. ``key`` and ``seed`` are the secrets of the maps.
    ``full_id``, ``full_started`` and ``differential_id`` are the fields of ``ChunkedDump``. ``placement``
    says which tables the full dump had in data archives; it is ``None`` if this dump is the full one.
    """

    kind: str
    reason: str
    due: bool
    again: bool
    average: int
    key: DigestKey
    seed: int = field(repr=False)
    full_id: str
    full_started: datetime
    differential_id: str = ""
    placement: Placement | None = None
    chunk_map: ChunkMap | None = None
    tried: TriedDump | None = None
    tried_map: ChunkMap | None = None
    allowed: Mapping[str, EarlierPack] = field(default_factory=dict)

    @property
    def maps(self) -> list[ChunkMap]:
        """The open maps in which chunks are looked up."""
        return [found for found in (self.chunk_map, self.tried_map) if found]

    def close(self) -> None:
        for found in self.maps:
            found.close()


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
    ``FilesError`` if the map of chunks cannot be read, or if no map can be written of the chunks that the
    last attempt has stored.
    """
    stored = list_packs(context, part.alias, damaged)
    tries = set(filter(keys.is_id, full_tries.read(tries_path(context, part.alias))))
    # Before the first dump is complete, storage can have packs of runs that ended early, but there is no map.
    needed = any(keys.writer(key) not in tries for key in stored.listed)
    found, why_full = _open_map(context, part.alias, needed)
    try:
        average = cutter.suitable_average(size or 0, found.header.cutter.average if found else cutter.AVERAGE)
        earlier = find_earlier(context, part, found, average, stored) if found else Earlier(why_full)
        last = LastDump.of(chunked_of(earlier.last), earlier.last.started) if earlier.last else None
        choice = choose_kind(
            part.started,
            last,
            full_every=context.config.full_every,
            forced=forced,
            why_full=earlier.problem,
            tries=[keys.id_time(item) for item in tries - {backup_id}],
        )
        base = None if choice.kind == FULL else found
        tried = _find_tried(context, part.alias, base, average, stored)
        plan = (
            _plan_based_on(base, earlier, choice, average, backup_id)
            if base
            else _plan_full(part, choice, average, backup_id, tried)
        )
        if tried:
            log, packs = tried
            try:
                tried_map = map_of_tried(log, packs, map_path(context, part.alias).parent)
            except OSError as error:
                raise state_error(context, error) from None
            plan = replace(plan, tried=log, tried_map=tried_map, allowed={**packs, **plan.allowed})
    except BaseException:
        if found:
            found.close()
        raise
    if found and not base:
        found.close()
    return plan


def _plan_full(
    part: DatabasePart,
    choice: Choice,
    average: int,
    backup_id: str,
    tried: tuple[TriedDump, dict[str, EarlierPack]] | None,
) -> DumpPlan:
    """Return the plan of a full dump.

    ``tried`` is what an attempt that ended early has left; the plan then has the secrets (key and seed) of
    that attempt, otherwise new ones.
    """
    key, seed = DigestKey.new(), 1 + secrets.randbelow(cutter.SEED_LIMIT - 1)
    if tried:
        key, seed = DigestKey.parse(tried[0].header.key), tried[0].header.seed
    return DumpPlan(
        kind=FULL,
        reason=choice.reason,
        due=choice.due,
        again=choice.again,
        average=average,
        key=key,
        seed=seed,
        full_id=backup_id,
        full_started=part.started,
    )


def _plan_based_on(
    base: ChunkMap, earlier: Earlier, choice: Choice, average: int, backup_id: str
) -> DumpPlan:
    """Return the plan of a differential or incremental dump."""
    if earlier.last is None:
        raise ValueError("there is no last dump")
    last, packs = chunked_of(earlier.last), earlier.packs
    if choice.kind == DIFFERENTIAL:
        packs = {name: item for name, item in packs.items() if item.of_full}
    return DumpPlan(
        kind=choice.kind,
        reason=choice.reason,
        due=choice.due,
        again=choice.again,
        average=average,
        key=DigestKey.parse(base.header.key),
        seed=base.header.seed,
        full_id=last.full_id,
        full_started=last.full_started,
        differential_id=last.differential_id if choice.kind == INCREMENTAL else backup_id,
        placement=base.header.placement,
        chunk_map=base,
        allowed=packs,
    )


def _find_tried(
    context: BackupContext, alias: str, base: ChunkMap | None, average: int, stored: PacksInStorage
) -> tuple[TriedDump, dict[str, EarlierPack]] | None:
    """Return the log and the packs of the last attempt of the same kind, if it ended early.

    ``base`` is the map of the earlier dumps to which the new dump can refer; ``None`` if that is a full dump.
    """
    tried = read_tried(context, alias, full=base is None)
    if tried is None or (base and tried.header.key != base.header.key):
        return None
    return find_tried(context, alias, tried, average, stored)


def _open_map(context: BackupContext, alias: str, needed: bool) -> tuple[ChunkMap | None, str]:
    """Open the map of the chunks of a database, which says what a new dump can refer to.

    If there is no map, the second value says why the dump must be full. It is empty if no map was ``needed``.
    """
    path = map_path(context, alias)
    try:
        if found := open_map(path):
            return found, ""
    except IntegrityError:
        return None, "the map of its chunks on this host is damaged"
    except OSError as error:
        raise unreadable(path, error) from None
    return None, "this host has no map of its chunks" if needed else ""
