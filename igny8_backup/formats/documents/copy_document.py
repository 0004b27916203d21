"""The document that says which databases and trees of a backup a copy holds, if it does not hold all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from igny8_backup.formats import keys
from igny8_backup.formats.documents.annotations import CheckedPart
from igny8_backup.formats.manifest import NOT_COPIED, Manifest
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.formats.parts.tree import TreePart

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class CopyDocument:
    """The ``parts`` (databases and trees) that a copy of the backup ``id`` holds.

    ``host`` made the copy at the time ``copied``. ``manifest_sha256`` is the digest of the manifest.
    """

    schema: int
    id: str
    host: str
    copied: datetime
    parts: tuple[CheckedPart, ...]
    manifest_sha256: str


def copy_key(backup_id: str) -> str:
    return f"{keys.backup_folder(backup_id)}copy.json"


def holding(manifest: Manifest, parts: Collection[CheckedPart]) -> Manifest:
    """Return the manifest as it applies to a copy that holds only ``parts``.

    The other databases and trees get the state ``NOT_COPIED`` and no objects. :meth:`Manifest.as_stored`
    undoes this.
    """
    left_out = tuple(part for part in manifest.parts if not _is_held(part, parts))
    databases = (part if part not in left_out else _without_objects(part) for part in manifest.databases)
    trees = (tree if tree not in left_out else _without_packs(tree) for tree in manifest.trees)
    return replace(manifest, databases=tuple(databases), trees=tuple(trees), left_out=left_out)


def _is_held(part: DatabasePart | TreePart, parts: Collection[CheckedPart]) -> bool:
    return CheckedPart(kind=part.kind, name=part.name) in parts


def _without_objects(part: DatabasePart) -> DatabasePart:
    return replace(part, state=NOT_COPIED, object=None, chunked=None, packs=(), pack_lists=())


def _without_packs(tree: TreePart) -> TreePart:
    return replace(tree, state=NOT_COPIED, index=None, folders=None, packs=(), pack_lists=())
