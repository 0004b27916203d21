"""The index of the last backup of each tree, which this host keeps readable in ``STATE_DIR``.

The server cannot decrypt the index that it stored, but it has the files anyway. Each backup leaves
``ID.index`` and ``ID.json`` in ``STATE_DIR/indexes/HOST/TREE``. The next backup compares the tree with them
(:func:`find_parent_backup`), provided that they are undamaged and that storage still has that backup and
every pack it needs.
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
"""Live bytes that one run stores again, at most, to get rid of packs that are mostly dead."""
MOSTLY_DEAD = 0.5
"""A pack is rewritten when less than this share of its bytes is live."""
MAX_PACKS = 200
"""A backup that needs more packs than this also rewrites the smallest."""
FULL_RUNS_LIMIT = 3
"""This many full runs in a row that nobody asked for are worth a warning."""


@dataclass(frozen=True, kw_only=True)
class LocalIndex:
    """The file beside an index. ``recipients`` can decrypt that backup; ``live_bytes`` maps each pack to the
    bytes that the backup needs of its tar; ``sha256`` is that of the index."""

    schema: int
    backup_id: str
    recipients: tuple[str, ...]
    live_bytes: dict[str, int]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ParentBackup:
    """The backup that a run compares a tree with. The files of ``packs_to_rewrite`` are stored again."""

    backup_id: str
    index: Path
    part: TreePart
    packs_to_rewrite: frozenset[str]


def folder_of(context: BackupContext, tree: str) -> Path:
    """The folder that holds the local index of a tree of this host."""
    return context.config.state_dir / "indexes" / context.config.host / tree


def stored_packs(context: BackupContext, tree: str) -> dict[str, int]:
    """The packs of this host's tree in storage, with their stored bytes. Raises ``StorageError``."""
    folder = keys.pack_folder(context.config.host, tree)
    return {keys.pack_of(item.key): item.size for item in context.store.list(folder.removesuffix("/"))}


def lost_pack(context: BackupContext, part: TreePart) -> str:
    """The key of a pack of earlier backups that this part needs and storage no longer has, or ``""``.

    Raises ``StorageError``.
    """
    if part.state != COMPLETE or part.full:
        return ""
    stored = stored_packs(context, part.name)
    lost = (pack.key for pack in part.packs if stored.get(keys.pack_of(pack.key)) != pack.stored_bytes)
    return next(lost, "")


def find_parent_backup(context: BackupContext, tree: str) -> tuple[ParentBackup | None, str]:
    """Find the newest backup of this tree that a run can compare with.

    Where there is none, the second value says why: a clause for "because ...", empty if the tree has never
    been backed up. Raises ``StorageError``.
    """
    stored = stored_packs(context, tree)
    reason = f"there is no index of it in {folder_of(context, tree)}" if stored else ""
    for path in sorted(folder_of(context, tree).glob("*.index"), reverse=True):
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
    """The local index of this part of a backup, if this host has it; else ``None``.

    The second value is a sentence where the local index is damaged, otherwise empty.
    """
    path = folder_of(context, part.name) / f"{manifest.id}.index"
    if manifest.host != context.config.host or not path.exists():
        return None, ""
    if _read_local(path) is None:
        return None, f"The index of {part.name!r} in STATE_DIR is damaged: {path}."
    return path, ""


def remember(
    context: BackupContext, tree: str, backup_id: str, index: Path, live_bytes: Mapping[str, int], sha256: str
) -> None:
    """Keep ``index`` as the local index of this backup. It must be a file on the same filesystem, and
    ``sha256`` its digest. Raises ``OSError``."""
    local = LocalIndex(
        schema=SCHEMA,
        backup_id=backup_id,
        recipients=tuple(context.codec.recipients),
        live_bytes=dict(live_bytes),
        sha256=sha256,
    )
    place = folder_of(context, tree) / backup_id
    with open(index, "rb") as file:
        sync(file.fileno())  # an index that a power cut has emptied would fail a backup
    os.chmod(index, 0o600)
    os.replace(index, place.with_suffix(".index"))
    with open(place.with_suffix(".json"), "wb", opener=_private) as file:
        file.write(records.to_json(local))
        file.flush()
        sync(file.fileno())


def forget_others(context: BackupContext, tree: str, kept: Collection[str]) -> None:
    """Remove the local indexes of all backups but ``kept``: older ones, and those of runs that never ended.

    Raises ``OSError``.
    """
    for path in folder_of(context, tree).glob("*.*"):
        if keys.is_id(path.stem) and path.stem not in kept:
            path.unlink(missing_ok=True)


def full_runs(context: BackupContext, tree: str) -> int:
    """How many of the newest backups of this tree, in a row, stored every file; counts to a limit."""
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
    """Choose the packs whose live files are stored again, so that the old packs can be deleted.

    First those that are mostly dead, the deadest first; then, if there are too many packs, the smallest; all
    together at most ``REWRITE_LIMIT`` live bytes.
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
    """Read the file beside ``index``; ``None`` where either is not what the backup wrote.

    The index is checked because a record that the disk damaged would be copied from backup to backup.
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
