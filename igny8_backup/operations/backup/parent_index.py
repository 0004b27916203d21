"""Local, unencrypted copies of the indexes (file lists) of the last backups, for incremental backups.

The server cannot decrypt the index in storage. So each backup also writes its index to ``STATE_DIR``, as
``indexes/HOST/TREE/ID.index`` with the metadata in ``ID.json``. The next backup compares the tree with that
index (:func:`find_parent_backup`) if both files are undamaged and storage still has the backup and all its
packs (tar archives).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import IntegrityError, UsageError
from igny8_backup.filesystem import sync
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import COMPLETE, Manifest, TreePart
from igny8_backup.operations.context import BackupContext

SCHEMA = 2
UPGRADES: records.Upgrades = {1: lambda old: {**old, "live_bytes": old["living"]}}
REWRITE_LIMIT = 256 << 20
"""Live bytes that one run stores again, at most, so that packs with few live bytes can be deleted."""
MOSTLY_DEAD = 0.5
"""The files of a pack are stored again when less than this share of its bytes is live."""
MAX_PACKS = 200
"""A backup that needs more packs than this also stores the files of the smallest packs again."""
FULL_RUNS_LIMIT = 3
"""After this many full runs in a row, without ``--full``, a warning is shown."""


@dataclass(frozen=True)
class LocalIndex:
    """The metadata, in ``ID.json``, of a local index (the file list of a tree in one backup).

    ``recipients`` can decrypt the backup; ``live_bytes`` maps each pack (tar archive of files) to the number
    of its bytes that the backup needs; ``sha256`` is the digest of the index.
    """

    schema: int
    backup_id: str
    recipients: tuple[str, ...]
    live_bytes: dict[str, int]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ParentBackup:
    """The earlier backup that a run compares a tree with, so that it stores changed files only.

    ``index`` is the local list of its files. Files in ``packs_to_rewrite`` (tar archives with few files that
    are still needed) are stored again although they have not changed.
    """

    backup_id: str
    index: Path
    part: TreePart
    packs_to_rewrite: frozenset[str]


def index_folder(context: BackupContext, tree: str) -> Path:
    """Return the folder in ``STATE_DIR`` of the local indexes (file lists) of a tree of this host."""
    return context.config.state_dir / "indexes" / context.config.host / tree


def stored_packs(context: BackupContext, tree: str) -> dict[str, int]:
    """Return the packs (tar archives) of a tree of this host in storage: their names and sizes in bytes.

    Raises ``StorageError``.
    """
    folder = keys.pack_folder(context.config.host, tree)
    return {keys.pack_of(item.key): item.size for item in context.store.list(folder.removesuffix("/"))}


def lost_pack(context: BackupContext, part: TreePart) -> str:
    """Return the key of a pack (tar archive) that ``part`` needs and storage no longer has, or ``""``.

    A full backup needs no packs of earlier backups, so it is not checked. Raises ``StorageError``.
    """
    if part.state != COMPLETE or part.full:
        return ""
    stored = stored_packs(context, part.name)
    lost = (pack.key for pack in part.packs if stored.get(keys.pack_of(pack.key)) != pack.stored_bytes)
    return next(lost, "")


def find_parent_backup(context: BackupContext, tree: str) -> tuple[ParentBackup | None, str]:
    """Find the newest backup of ``tree`` that a run can compare it with, to store changed files only.

    If there is none, the second value is the reason, such as ``the recipients have changed``; it is empty if
    the tree has never been backed up. Raises ``StorageError``.
    """
    stored = stored_packs(context, tree)
    reason = f"there is no index of it in {index_folder(context, tree)}" if stored else ""
    for path in sorted(index_folder(context, tree).glob("*.index"), reverse=True):
        try:
            part = _complete_part(context, path.stem, tree)
        except (IntegrityError, UsageError):
            part = None
        if part is None:
            reason = f"storage no longer has the backup {path.stem}"
        elif (local := _read_local(path)) is None:
            reason = f"{path} is damaged"
        elif set(local.recipients) != set(context.codec.recipients):
            reason = "the recipients have changed"
        elif any(stored.get(keys.pack_of(pack.key)) != pack.stored_bytes for pack in part.packs):
            reason = f"storage no longer has all the packs of {path.stem}"
        else:
            rewrite = packs_to_rewrite(part, local.live_bytes)
            return ParentBackup(backup_id=path.stem, index=path, part=part, packs_to_rewrite=rewrite), ""
    return None, reason


def local_index(context: BackupContext, manifest: Manifest, part: TreePart) -> tuple[Path | None, str]:
    """Return the local index (file list) of a tree in a backup; ``None`` if it is missing or damaged.

    The second value is a sentence about the damage, or empty.
    """
    path = index_folder(context, part.name) / f"{manifest.id}.index"
    if manifest.host != context.config.host or not path.exists():
        return None, ""
    if _read_local(path) is None:
        return None, f"The index of {part.name!r} in STATE_DIR is damaged: {path}."
    return path, ""


def save_local_index(
    context: BackupContext, tree: str, backup_id: str, index: Path, live_bytes: Mapping[str, int], sha256: str
) -> None:
    """Move the file ``index`` (the file list of a tree) to the local indexes, and write its metadata.

    ``index`` must be on the filesystem of ``STATE_DIR``; ``sha256`` is its digest. ``live_bytes``: for each
    pack (tar), the number of bytes in it that the backup needs. Raises ``OSError``.
    """
    recipients = tuple(context.codec.recipients)
    local = LocalIndex(SCHEMA, backup_id, recipients, dict(live_bytes), sha256)
    place = index_folder(context, tree) / backup_id
    with open(index, "rb") as file:
        sync(file.fileno())  # after a power failure the index could be empty otherwise
    os.chmod(index, 0o600)
    os.replace(index, place.with_suffix(".index"))
    with open(place.with_suffix(".json"), "wb", opener=_private) as file:
        file.write(records.to_json(local))
        file.flush()
        sync(file.fileno())


def remove_other_indexes(context: BackupContext, tree: str, retained: Collection[str]) -> None:
    """Remove the local indexes (file lists) of a tree, except those of the backups ``retained``.

    Raises ``OSError``.
    """
    for path in index_folder(context, tree).glob("*.*"):
        if keys.is_id(path.stem) and path.stem not in retained:
            path.unlink(missing_ok=True)


def full_runs(context: BackupContext, tree: str) -> int:
    """Return how many of the newest backups of this tree, in a row, stored every file.

    Stops counting at ``FULL_RUNS_LIMIT``.
    """
    ids = {keys.pack_writer(name) for name in stored_packs(context, tree)}
    count = 0
    for backup_id in sorted(ids, reverse=True)[:FULL_RUNS_LIMIT]:
        try:
            part = _complete_part(context, backup_id, tree)
        except (IntegrityError, UsageError):
            continue
        if part is None or not part.full:
            break
        count += 1
    return count


def packs_to_rewrite(part: TreePart, live_bytes: Mapping[str, int]) -> frozenset[str]:
    """Choose the packs (tar archives) to replace: the next backup stores their live files again.

    Live files are those that the backup needs; the old packs can be deleted later. First come packs with a
    share of live bytes below ``MOSTLY_DEAD``, the smallest share first. If more than ``MAX_PACKS`` are left,
    the smallest of these follow. The chosen packs have at most ``REWRITE_LIMIT`` live bytes together.
    """
    sizes = {keys.pack_of(pack.key): pack.raw_bytes for pack in part.packs}
    share = {name: live_bytes.get(name, 0) / max(size, 1) for name, size in sizes.items()}
    candidates = sorted((name for name in sizes if share[name] < MOSTLY_DEAD), key=lambda name: share[name])
    too_many = len(sizes) - len(candidates) - MAX_PACKS
    if too_many > 0:
        rest = sorted(sizes.keys() - set(candidates), key=lambda name: live_bytes.get(name, 0))
        candidates += rest[:too_many]
    chosen, total = set(), 0
    for name in candidates:
        total += live_bytes.get(name, 0)
        if total <= REWRITE_LIMIT:
            chosen.add(name)
    return frozenset(chosen)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read_local(index: Path) -> LocalIndex | None:
    """Read the metadata of the local index ``index``; return ``None`` if either file is missing or damaged.

    The digest of the index is checked because a damaged record would be copied into every later backup.
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


def _complete_part(context: BackupContext, backup_id: str, tree: str) -> TreePart | None:
    manifest = context.catalog.get(backup_id)
    if manifest.host != context.config.host:
        return None
    return next((part for part in manifest.trees if part.name == tree and part.state == COMPLETE), None)
