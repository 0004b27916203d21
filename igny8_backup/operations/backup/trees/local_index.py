"""Local, unencrypted copies of the indexes (file lists) of the last backups, for incremental backups.

The index in storage is encrypted, and this host has no key to decrypt it. So each backup also writes its
index to ``STATE_DIR``, as ``indexes/HOST/TREE/ID.index``, with metadata in ``ID.json``. ``parent_index``
decides whether the next backup compares the tree with that index.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from igny8_backup.common.filesystem import sync
from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.context import BackupContext

SCHEMA = 3
UPGRADES: records.Upgrades = {
    1: lambda old: {**old, "live_bytes": old["living"]},
    2: lambda old: {**old, "large": {}},
}


@dataclass(frozen=True, kw_only=True)
class LargeTar:
    """A tar of large files: its size in bytes, and the names of the packs of chunks that make it up."""

    bytes: int
    packs: tuple[str, ...]


@dataclass(frozen=True)
class LocalIndex:
    """The metadata, in ``ID.json``, of a local index (the file list of a tree in one backup).

    ``recipients`` are the public keys to which the backup is encrypted; ``live_bytes`` maps each pack (tar
    archive of files) to the number of its bytes that the backup needs; ``sha256`` is the digest of the index.
    ``lists`` maps the keys of the lists in storage that describe these packs to the digests of the lists; it
    is empty if an earlier release made the backup. ``large`` are the tars of large files, by name.
    """

    schema: int
    backup_id: str
    recipients: tuple[str, ...]
    live_bytes: dict[str, int]
    sha256: str
    lists: dict[str, str] = field(default_factory=dict)
    large: dict[str, LargeTar] = field(default_factory=dict)


def index_folder(context: BackupContext, tree: str) -> Path:
    """Return the folder in ``STATE_DIR`` of the local indexes (file lists) of a tree of this host."""
    return context.config.state_dir / "indexes" / context.config.host / tree


def newest_local_index(context: BackupContext, tree: str) -> Path | None:
    """Return the newest undamaged local index (file list) of a tree, even if its backup is gone."""
    paths = sorted(index_folder(context, tree).glob("*.index"), reverse=True)
    return next((path for path in paths if read_metadata(path) is not None), None)


def find_local_index(context: BackupContext, manifest: Manifest, part: TreePart) -> tuple[Path | None, str]:
    """Return the local index (file list) of a tree in a backup; ``None`` if it is missing or damaged.

    The second value is a sentence about the damage, or empty if there is none.
    """
    path = index_folder(context, part.name) / f"{manifest.id}.index"
    if manifest.host != context.config.host or not path.exists():
        return None, ""
    if read_metadata(path) is None:
        return None, f"The index of {part.name!r} in STATE_DIR is damaged: {path}."
    return path, ""


def save_local_index(
    context: BackupContext,
    tree: str,
    backup_id: str,
    index: Path,
    live_bytes: Mapping[str, int],
    sha256: str,
    large: Mapping[str, LargeTar],
) -> None:
    """Move the file ``index`` (the file list of a tree) to the local indexes, and write its metadata.

    ``index`` must be on the filesystem of ``STATE_DIR``; ``sha256`` is its digest. ``live_bytes``: for each
    pack (tar), the number of bytes in it that the backup needs. ``large`` are the tars of large files. Raises
    ``OSError``.
    """
    recipients = tuple(context.codec.recipients)
    local = LocalIndex(SCHEMA, backup_id, recipients, dict(live_bytes), sha256, large=dict(large))
    place = index_folder(context, tree) / backup_id
    with open(index, "rb") as file:
        sync(file.fileno())  # after a power failure the index could be empty otherwise
    os.chmod(index, 0o600)
    os.replace(index, place.with_suffix(".index"))
    _write_metadata(place, local)


def record_lists(context: BackupContext, part: TreePart, backup_id: str) -> None:
    """Record in the metadata of a local index which lists in storage describe the packs of the tree.

    The digest of each list is recorded too. The next backup uses these packs only if the manifest in storage
    still refers to the same lists. Otherwise somebody who can write to the storage could name other packs,
    and the next backup would sign them. Nothing is recorded if there is no local index. Raises
    ``FilesError``.
    """
    place = index_folder(context, part.name) / backup_id
    if local := read_metadata(place.with_suffix(".index")):
        found = {item.key: item.sha256 for item in part.pack_lists}
        try:
            _write_metadata(place, replace(local, lists=found))
        except OSError as error:
            what = f"The state folder {place.parent} cannot be written: {error.strerror}."
            hint = "Free some space there, or move IGNY8_BACKUP['STATE_DIR'] to a persistent volume."
            raise FilesError(what, hint=hint) from None


def remove_other_indexes(context: BackupContext, tree: str, retained: Collection[str]) -> None:
    """Remove the local indexes (file lists) and maps of a tree, except those of the backups ``retained``.

    Partial files, which killed runs left, are removed too. Raises ``OSError``.
    """
    for path in index_folder(context, tree).glob("*.*"):
        backup_id = path.name.partition(".")[0]
        if keys.is_id(backup_id) and (backup_id not in retained or path.suffix == ".partial"):
            path.unlink(missing_ok=True)


def read_metadata(index: Path) -> LocalIndex | None:
    """Read the metadata of the local index ``index``; return ``None`` if it cannot be used.

    It cannot be used if the index or its metadata is missing or damaged. The digest of the index is checked
    because a damaged line of the index would be copied into the index of every later backup.
    """
    path = index.with_suffix(".json")
    try:
        local = records.from_json(
            LocalIndex, path.read_bytes(), name=str(path), schema=SCHEMA, upgrades=UPGRADES
        )
        with open(index, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, IntegrityError):
        return None
    return local if digest == local.sha256 else None


def _write_metadata(place: Path, local: LocalIndex) -> None:
    """Write the metadata of the local index at ``place`` durably: a crash never leaves half a file."""
    new = place.with_suffix(".new")
    with open(new, "wb", opener=_private) as file:
        file.write(records.to_json(local))
        file.flush()
        sync(file.fileno())
    os.replace(new, place.with_suffix(".json"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
