"""Store lists: objects in storage with the sizes and digests of packs, and with digests of blocks.

A list of packs (objects that several backups share) describes packs, so that the manifests need not repeat
the description. A list of blocks has the digest of each block of the large objects of one backup. Lists are
stored after all other objects and before the manifest, so that a run that is killed leaves only orphans.
:func:`store_lists` is the entry point; ``formats.lists`` describes the format.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, compress
from operator import not_
from typing import TypeVar

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, lists, records
from igny8_backup.formats.chunked import is_large_tar
from igny8_backup.formats.lists import ListedObject, ObjectList, PackList, as_ranges, in_base64
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import ListReference, StoredObject
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.packed import PackedPart
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.trees import local_index
from igny8_backup.operations.context import BackupContext
from igny8_backup.store import MissingObjectError
from igny8_backup.streams.pipeline import from_bytes

P = TypeVar("P", DatabasePart, TreePart)

LISTS_LIMIT = 24
"""The largest number of lists that the copy of a tree or database may need. A run that would exceed it lists
all its packs anew, so that its manifest stays small."""


def store_lists(context: BackupContext, manifest: Manifest) -> Manifest:
    """Store the lists that a new backup needs; return its manifest with references to them.

    The new lists of packs describe the packs that no stored list describes yet: new packs, and packs of
    backups that earlier releases made. If a database or tree would need more than ``LISTS_LIMIT`` lists, new
    lists describe all of its packs. Packs of databases, and packs of trees with large files in chunks, are in
    separate lists: releases that do not know chunks refuse lists with such packs, but can still read those of
    the other trees. The lists of each tree are also recorded in ``STATE_DIR``. Raises ``StorageError`` and
    ``OSError``.
    """
    packs = {pack.key for part in manifest.parts for pack in part.packs}
    own = (item for item in manifest.contents() if item.key not in packs)
    listed: dict[str, ListReference] = {}
    chunked = [any(is_large_tar(pack.key) for pack in tree.packs) for tree in manifest.trees]
    separate: tuple[Iterable[PackedPart], ...] = (
        compress(manifest.trees, map(not_, chunked)),
        compress(manifest.trees, chunked),
        manifest.databases,
    )
    groups = chain.from_iterable(in_groups(_with_digests(context, _unlisted(parts))) for parts in separate)
    for number, group in enumerate(groups, 1):
        found = store_list(
            context, manifest.host, manifest.id, lists.list_key(manifest.host, manifest.id, number), group
        )
        listed |= {item.key: found for item in group}
    databases = tuple(naming_lists(part, listed) for part in manifest.databases)
    trees = tuple(naming_lists(tree, listed) for tree in manifest.trees)
    for tree in trees:
        if tree.pack_lists:
            local_index.record_lists(context, tree, manifest.id)
    blocks = _store_blocks(context, manifest.id, own)
    return replace(manifest, databases=databases, trees=trees, blocks=blocks)


def _store_blocks(
    context: BackupContext, backup_id: str, objects: Iterable[StoredObject]
) -> ListReference | None:
    """Store a list with the digest of each block of ``objects``; return the reference for the manifest.

    ``objects`` belong to this backup only. An object of a single block is left out, because its digest is in
    the manifest. Returns ``None`` if there are no larger objects.
    """
    listed = [listed_object(item, item.blocks) for item in objects if item.stored_bytes > lists.BLOCK_BYTES]
    return (
        store_list(context, context.config.host, backup_id, lists.blocks_key(backup_id), listed)
        if listed
        else None
    )


def _unlisted(parts: Iterable[PackedPart]) -> Iterable[StoredObject]:
    """Return the packs of ``parts`` that new lists must describe."""
    return {
        pack.key: pack for part in parts for pack in part.packs if pack.named_in is None or _too_many(part)
    }.values()


def _too_many(part: PackedPart) -> bool:
    return len({pack.named_in for pack in part.packs}) > LISTS_LIMIT


def _with_digests(context: BackupContext, packs: Iterable[StoredObject]) -> Iterator[ListedObject]:
    """Yield a list entry for each of ``packs``, with the digest of each block of the pack.

    For packs of earlier backups, the digests come from the stored lists. If such a list is missing or
    damaged, the entry has no digests of blocks.
    """
    for pack in packs:
        known = pack.blocks
        if pack.blocks_in is not None:
            with suppress(IntegrityError, MissingObjectError):  # the pack is read twice then
                known = context.lists.digests(context.store, pack)
        yield listed_object(pack, known)


def in_groups(listed: Iterable[ListedObject]) -> Iterator[list[ListedObject]]:
    """Yield groups of objects, each for one list of at most about ``lists.WRITTEN_SIZE`` bytes."""
    group: list[ListedObject] = []
    size = 0
    for item in listed:
        length = len(records.to_json(item))
        if group and size + length > lists.WRITTEN_SIZE:
            yield group
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group


def naming_lists(part: P, listed: dict[str, ListReference]) -> P:
    """Return a copy of ``part`` that refers, for each of its packs, to the list that describes the pack.

    ``listed`` maps the keys of packs to the lists that this run has stored. For a pack that is not in
    ``listed``, the copy refers to the same list of an earlier run as ``part`` does.
    """
    packs = tuple(replace(pack, named_in=listed.get(pack.key, pack.named_in)) for pack in part.packs)
    numbers: defaultdict[tuple[ListReference, str], defaultdict[str, list[int]]]
    numbers = defaultdict(lambda: defaultdict(list))
    for pack in packs:
        if pack.named_in is not None:
            name = keys.pack_of(pack.key)
            with_suffix = numbers[pack.named_in, pack.key.rpartition(name)[2]]
            with_suffix[keys.pack_writer(name)].append(keys.pack_number(name))
    pack_lists = tuple(
        PackList(
            key=found.key,
            stored_bytes=found.stored_bytes,
            sha256=found.sha256,
            suffix=suffix,
            packs={run: as_ranges(those) for run, those in runs.items()},
        )
        for (found, suffix), runs in sorted(numbers.items(), key=lambda item: (item[0][0].key, item[0][1]))
    )
    return replace(part, packs=tuple(sorted(packs, key=lambda pack: pack.key)), pack_lists=pack_lists)


def store_list(
    context: BackupContext, host: str, backup_id: str, key: str, listed: Sequence[ListedObject]
) -> ListReference:
    """Store a list of the run ``backup_id`` of ``host`` under ``key``; return the reference for manifests.

    Raises ``StorageError``.
    """
    data = records.to_json(
        ObjectList(
            schema=lists.SCHEMA,
            id=backup_id,
            host=host,
            block_bytes=lists.BLOCK_BYTES,
            objects=tuple(listed),
        )
    )
    context.store.put(key, from_bytes(data), claimed=True)
    return ListReference(key=key, stored_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def listed_object(item: StoredObject, blocks: bytes) -> ListedObject:
    """Return the entry of an object in a list; ``blocks`` are the digests of its blocks."""
    return ListedObject(
        key=item.key,
        stored_bytes=item.stored_bytes,
        raw_bytes=item.raw_bytes,
        sha256=item.sha256,
        codecs=item.codecs,
        blocks=in_base64(blocks) if item.stored_bytes > lists.BLOCK_BYTES else "",
    )
