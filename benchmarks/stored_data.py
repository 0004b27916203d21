"""Make up a storage with many backups: manifests, lists, run records, and objects without bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from igny8_backup.catalog.snapshot import collected
from igny8_backup.formats import keys, lists, records
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.lists import ListedObject, ObjectList
from igny8_backup.formats.manifest import COMPLETE, Manifest
from igny8_backup.formats.manifest_schema import schema_of
from igny8_backup.formats.objects import ListReference, StoredObject
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.lists import listed_object, naming_lists
from igny8_backup.store import Stored

HOST = "web-1"
TREES = ("sites", "uploads")
PACKS_NEEDED = 20
"""The number of packs that a backup needs for each tree, those of the backups before it included."""


def make_storage(root: Path, backups: int, newest: datetime, packs_each: int = 1) -> None:
    """Write a storage with ``backups`` nightly backups, of which the newest began at ``newest``.

    Each stores ``packs_each`` packs for each tree, and as a backup does, a list of these packs.
    """
    packs: dict[str, list[StoredObject]] = {tree: [] for tree in TREES}
    for number in range(backups):
        started = newest - timedelta(days=1) * (backups - 1 - number)
        backup_id = keys.make_id(started, f"{number:06x}")
        for tree in TREES:
            for one in range(1, packs_each + 1):
                name = keys.pack_name(backup_id, one)
                packs[tree].append(_object(root, keys.pack_key(HOST, tree, name, ".zst")))
            del packs[tree][:-PACKS_NEEDED]
        new = [pack for tree in TREES for pack in packs[tree] if pack.named_in is None]
        listed = _write_list(root, backup_id, [listed_object(pack, b"") for pack in new])
        named = {pack.key: listed for pack in new}
        trees = tuple(
            naming_lists(_tree(root, backup_id, tree, started, packs[tree], full=number == 0), named)
            for tree in TREES
        )
        packs = {tree.name: list(tree.packs) for tree in trees}
        document = _write_manifest(root, backup_id, started, trees)
        run = RunRecord(
            schema=1,
            id=backup_id,
            host=HOST,
            environment="benchmark",
            label="",
            requested=TREES,
            started=started,
            heartbeat=started,
            outcome=COMPLETE,
            finished=started,
            manifest_sha256=hashlib.sha256(document).hexdigest(),
        )
        _write(root / keys.run_key(backup_id), records.to_json(run))


def collect_documents(root: Path) -> None:
    """Store copies of the documents in ``root`` in one object, as ``prune_backups`` does in S3."""

    def documents() -> Iterator[tuple[Stored, bytes]]:
        for path in sorted(root.rglob("*.json")):
            content = path.read_bytes()
            yield Stored(str(path.relative_to(root)), len(content), None), content

    _write(root / keys.COLLECTED, b"".join(collected.copied(documents())))


def _tree(
    root: Path, backup_id: str, name: str, started: datetime, packs: list[StoredObject], *, full: bool
) -> TreePart:
    return TreePart(
        name=name,
        role="sites",
        state=COMPLETE,
        started=started,
        finished=started,
        index=_object(root, keys.index_key(backup_id, name, ".zst")),
        folders=_object(root, keys.folders_key(backup_id, name, ".zst")),
        packs=tuple(packs),
        files=1000,
        bytes=1_000_000,
        full=full,
    )


def _write_list(root: Path, backup_id: str, objects: list[ListedObject]) -> ListReference:
    key = lists.list_key(HOST, backup_id, 1)
    document = records.to_json(
        ObjectList(
            schema=lists.SCHEMA,
            id=backup_id,
            host=HOST,
            block_bytes=lists.BLOCK_BYTES,
            objects=tuple(objects),
        )
    )
    _write(root / key, document)
    return ListReference(key=key, stored_bytes=len(document), sha256=hashlib.sha256(document).hexdigest())


def _write_manifest(root: Path, backup_id: str, started: datetime, trees: tuple[TreePart, ...]) -> bytes:
    manifest = Manifest(
        schema=schema_of((), trees),
        id=backup_id,
        host=HOST,
        environment="benchmark",
        label="",
        started=started,
        finished=started,
        requested=TREES,
        software={},
        details=_object(root, keys.details_key(backup_id, ".zst")),
        trees=tuple(replace(tree, packs=()) for tree in trees),
    )
    document = records.to_json(manifest)
    _write(root / keys.manifest_key(backup_id), document)
    return document


def _object(root: Path, key: str) -> StoredObject:
    _write(root / key, b"")
    digest = hashlib.sha256(key.encode()).hexdigest()  # as different as those of real objects
    return StoredObject(key=key, stored_bytes=0, raw_bytes=1, sha256=digest, codecs=("zstd",))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
