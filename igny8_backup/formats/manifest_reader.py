"""Parse manifests from storage, which may be damaged or forged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise

from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.chunked import KINDS
from igny8_backup.formats.lists import is_sha256
from igny8_backup.formats.manifest import COMPLETE, SCHEMA, Manifest
from igny8_backup.formats.objects import ListReference, StoredObject, list_object
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart


def read_manifest(data: bytes, backup_id: str) -> Manifest:
    """Parse the manifest of the backup ``backup_id``.

    If the manifest refers to lists of packs, the result has no packs: ``catalog.lists`` reads these lists.

    Raises :class:`IntegrityError` if ``data`` is malformed or from a newer release, if it lacks an object of
    a complete database or tree, or if the key of an object is not one that the backup can have.
    """
    name = f"The manifest of backup {backup_id}"
    manifest = records.from_json(Manifest, data, name=name, schema=SCHEMA)
    if manifest.id != backup_id:
        raise IntegrityError(f"{name} is that of another backup, {manifest.id!r}.")
    if keys.stamp(manifest.started) != backup_id[:16]:
        raise IntegrityError(f"{name} has another start time than its id: {manifest.started}.")
    lacking = [part.alias for part in manifest.databases if part.state == COMPLETE and not part.object]
    lacking += [
        part.name for part in manifest.trees if part.state == COMPLETE and not (part.index and part.folders)
    ]
    if lacking:
        raise IntegrityError(f"{name} lists {', '.join(lacking)} as complete, without the stored objects.")
    for item, kind, part in _places(manifest):
        key = keys.parse(item.key)
        shared = kind in keys.SHARED
        writer = key.backup_id if key and shared else backup_id
        expected = (kind, part, writer, manifest.host if shared else "")
        if key is None or (key.kind, key.name, key.backup_id, key.host) != expected:
            raise IntegrityError(f"{name} names the object {item.key!r}, which the backup cannot have.")
        if not is_sha256(item.sha256) or min(item.stored_bytes, item.raw_bytes) < 0:
            raise IntegrityError(f"{name} has a malformed size or digest of the object {item.key!r}.")
    for part_of in manifest.parts:
        _check_pack_names(manifest, part_of, name)
    for database in manifest.databases:
        _check_chunked(database, name)
    manifest = manifest.as_stored()  # where there are lists, nothing else names packs
    return _with_blocks_in(manifest, manifest.blocks) if manifest.blocks else manifest


def _check_pack_names(manifest: Manifest, part: DatabasePart | TreePart, name: str) -> None:
    """Check the keys of the packs of a part: their form, and that no two packs have the same name.

    Indexes refer to packs by their names, so a name must stand for one object.
    Raises ``IntegrityError``.
    """
    kinds = keys.TREE_PACKS if isinstance(part, TreePart) else {"chunk"}
    folder = part.pack_folder(manifest.host)
    try:
        listed = [(found.suffix, one) for found in part.pack_lists for one in found.ranges()]
    except ValueError as error:
        raise IntegrityError(f"{name} is malformed: {error}.", unchanged="Nothing was changed.") from None
    # The keys of a run in a list differ in the number only.
    forms = [f"{folder}{keys.pack_name(run, 1)}{suffix}" for suffix, (run, _, _) in listed]
    forms += () if part.pack_lists else [pack.key for pack in part.packs]
    if wrong := next((key for key in dict.fromkeys(forms) if not _is_of_kind(key, kinds)), None):
        raise IntegrityError(f"{name} names the object {wrong!r}, which the backup cannot have.")
    ranges = sorted(one for _, one in listed)
    twice = any(
        run == after and last >= next_one for (run, _, last), (after, next_one, _) in pairwise(ranges)
    )
    own = () if part.pack_lists else [keys.pack_of(pack.key) for pack in part.packs]
    if twice or len(set(own)) < len(own):
        raise IntegrityError(f"{name} names a pack of {part.describe()} twice.")


def _is_of_kind(key: str, kinds: Collection[str]) -> bool:
    parsed = keys.parse(key)
    return parsed is not None and parsed.kind in kinds


def _check_chunked(part: DatabasePart, name: str) -> None:
    """Check what a manifest says about a dump in chunks. Raises ``IntegrityError``."""
    found = part.chunked
    if found is None:
        if part.packs or part.pack_lists:
            raise IntegrityError(f"{name} names packs for {part.describe()}, whose dump is not in chunks.")
        return
    ids = [found.full_id, *([found.differential_id] if found.differential_id else [])]
    if (
        found.kind not in KINDS
        or len(found.data) != len(part.data)
        or any(archive.bytes < 0 or not is_sha256(archive.archive_sha256) for archive in found.archives)
        or not all(map(keys.is_id, ids))
    ):
        raise IntegrityError(f"{name} is malformed in its entry about the chunks of {part.describe()}.")


def _with_blocks_in(manifest: Manifest, found: ListReference) -> Manifest:
    """Return a copy of the manifest in which the backup's own objects refer to the list of their blocks.

    ``found`` refers to the list that holds the digests of the blocks; it becomes ``blocks_in`` of each
    object.
    """

    def own(item: StoredObject | None) -> StoredObject | None:
        return replace(item, blocks_in=found) if item else None

    return replace(
        manifest,
        details=replace(manifest.details, blocks_in=found),
        databases=tuple(
            replace(
                part,
                object=own(part.object),
                data=tuple(replace(item, blocks_in=found) for item in part.data),
            )
            for part in manifest.databases
        ),
        trees=tuple(
            replace(part, index=own(part.index), folders=own(part.folders)) for part in manifest.trees
        ),
    )


def _places(manifest: Manifest) -> Iterator[tuple[StoredObject, str, str]]:
    """Yield each object of a backup, and the ``kind`` and ``name`` that its key must have.

    The caller compares them with the result of ``keys.parse``.
    """
    yield manifest.details, "details", ""
    if manifest.blocks:
        yield list_object(manifest.blocks), "blocks", ""
    for database in manifest.databases:
        kind = "runs" if database.chunked else "database"
        if database.object:
            yield database.object, kind, database.alias
        yield from ((item, kind, database.alias) for item in database.data)
        yield from ((pack, "chunk", database.alias) for pack in database.packs)
    for tree in manifest.trees:
        if tree.index:
            yield tree.index, "index", tree.name
        if tree.folders:
            yield tree.folders, "folders", tree.name
        for pack in tree.packs:
            yield pack, "pack", tree.name
    yield from ((list_object(found), "list", "") for each in manifest.parts for found in each.pack_lists)
