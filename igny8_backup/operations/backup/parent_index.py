"""What this host remembers of the last backup of a tree: its index, readable, in ``STATE_DIR``.

The server cannot read the index that it stored (law 5), but has the files anyway. Each backup leaves
``ID.index`` and ``ID.json`` in ``STATE_DIR/indexes/HOST/TREE``; they count only while they are what the
backup wrote, and storage has that backup and every pack that it needs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.errors import IntegrityError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import COMPLETE, Manifest, TreePart
from igny8_backup.operations.context import BackupContext

SCHEMA = 2
UPGRADES: records.Upgrades = {1: lambda old: {**old, "live_bytes": old["living"]}}
COMPACTED = 256 << 20
"""Bytes still needed that a run stores again at most, to be rid of packs that are mostly dead."""
MOSTLY_DEAD = 0.5
"""A pack of which less than this share of its bytes is needed is emptied."""
MOST_PACKS = 200
"""So many packs may a backup need; beyond that the smallest are emptied too."""
IN_A_ROW = 3
"""So many full runs one after the other, though not asked for, are worth a warning."""


@dataclass(frozen=True, kw_only=True)
class LocalIndex:
    """``recipients``: who can read that backup; ``live_bytes``: the bytes it needs of each pack's tar;
    ``sha256``: of the index beside it."""

    schema: int
    backup_id: str
    recipients: tuple[str, ...]
    live_bytes: dict[str, int]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ParentBackup:
    """The backup that a run compares with. ``packs_to_rewrite``: packs whose files are to be stored again."""

    backup_id: str
    index: Path
    part: TreePart
    packs_to_rewrite: frozenset[str]


def folder_of(context: BackupContext, tree: str) -> Path:
    """Where the indexes of this host's tree lie."""
    return context.config.state_dir / "indexes" / context.config.host / tree


def stored_packs(context: BackupContext, tree: str) -> dict[str, int]:
    """The packs of this host's tree in storage, with their stored bytes. Raises ``StorageError``."""
    folder = keys.pack_folder(context.config.host, tree)
    return {keys.pack_of(item.key): item.size for item in context.store.list(folder.removesuffix("/"))}


def lost_pack(context: BackupContext, part: TreePart) -> str:
    """The key of a pack of earlier backups that this part needs and storage no longer has, or nothing.

    Raises ``StorageError``.
    """
    if part.state != COMPLETE or part.full:
        return ""
    stored = stored_packs(context, part.name)
    lost = (pack.key for pack in part.packs if stored.get(keys.pack_of(pack.key)) != pack.stored_bytes)
    return next(lost, "")


def find_parent_backup(context: BackupContext, tree: str) -> tuple[ParentBackup | None, str]:
    """The newest backup of this tree that can be compared with; or None and why, as a sentence: it is empty
    where there never was a backup. Raises ``StorageError``.
    """
    stored = stored_packs(context, tree)
    why = f"there is no index of it in {folder_of(context, tree)}" if stored else ""
    for path in sorted(folder_of(context, tree).glob("*.index"), reverse=True):
        try:
            part = _complete_part(context, path.stem, tree)
        except (IntegrityError, UsageError):
            part = None
        if part is None:
            why = f"storage no longer has the backup {path.stem}"
        elif (local := _read_local(path)) is None:
            why = f"{path} is damaged"
        elif set(local.recipients) != set(context.codec.recipients):
            why = "the recipients have changed"
        elif any(stored.get(keys.pack_of(pack.key)) != pack.stored_bytes for pack in part.packs):
            why = f"storage no longer has all the packs of {path.stem}"
        else:
            chosen = packs_to_rewrite(part, local.live_bytes)
            return ParentBackup(backup_id=path.stem, index=path, part=part, packs_to_rewrite=chosen), ""
    return None, why


def local_index(context: BackupContext, manifest: Manifest, part: TreePart) -> tuple[Path | None, str]:
    """The index of this part of a backup, if this host still has it; or None and, where it has one that is
    damaged, a sentence that says so."""
    path = folder_of(context, part.name) / f"{manifest.id}.index"
    if manifest.host != context.config.host or not path.exists():
        return None, ""
    if _read_local(path) is None:
        return None, f"The list of the files of {part.name!r} in STATE_DIR is damaged: {path}."
    return path, ""


def remember(
    context: BackupContext, tree: str, backup_id: str, index: Path, live_bytes: Mapping[str, int], sha256: str
) -> None:
    """Keeps ``index``, a private file in the folder of the tree, as that of this backup; ``sha256`` is the
    index's.

    Raises ``OSError``.
    """
    local = LocalIndex(
        schema=SCHEMA,
        backup_id=backup_id,
        recipients=tuple(context.codec.recipients),
        live_bytes=dict(live_bytes),
        sha256=sha256,
    )
    place = folder_of(context, tree) / backup_id
    with open(index, "rb") as file:
        os.fsync(file.fileno())  # an index that a power cut has emptied would fail a backup
    os.chmod(index, 0o600)
    os.replace(index, place.with_suffix(".index"))
    with open(place.with_suffix(".json"), "wb", opener=_private) as file:
        file.write(records.to_json(local))
        file.flush()
        os.fsync(file.fileno())


def forget_others(context: BackupContext, tree: str, kept: Collection[str]) -> None:
    """Removes the indexes of other backups than the ``kept``: older ones, and such as never came to an end.

    Raises ``OSError``.
    """
    for path in folder_of(context, tree).glob("*.*"):
        if keys.is_id(path.stem) and path.stem not in kept:
            path.unlink(missing_ok=True)


def full_runs(context: BackupContext, tree: str) -> int:
    """How many of the newest backups of this tree, one after the other, read everything."""
    ids = {keys.pack_writer(name) for name in stored_packs(context, tree)}
    count = 0
    for backup_id in sorted(ids, reverse=True)[:IN_A_ROW]:
        try:
            part = _complete_part(context, backup_id, tree)
        except (IntegrityError, UsageError):
            continue
        if part is None or not part.full:
            break
        count += 1
    return count


def packs_to_rewrite(part: TreePart, live_bytes: Mapping[str, int]) -> frozenset[str]:
    """The packs to be emptied: those that are mostly dead, the deadest first, and of too many the smallest;
    as many as fit into ``COMPACTED``.
    """
    sizes = {keys.pack_of(pack.key): pack.raw_bytes for pack in part.packs}
    share = {name: live_bytes.get(name, 0) / max(size, 1) for name, size in sizes.items()}
    chosen = sorted((name for name in sizes if share[name] < MOSTLY_DEAD), key=lambda name: share[name])
    too_many = len(sizes) - len(chosen) - MOST_PACKS
    if too_many > 0:
        rest = sorted(sizes.keys() - set(chosen), key=lambda name: live_bytes.get(name, 0))
        chosen += rest[:too_many]
    found, total = set(), 0
    for name in chosen:
        total += live_bytes.get(name, 0)
        if total <= COMPACTED:
            found.add(name)
    return frozenset(found)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read_local(index: Path) -> LocalIndex | None:
    """What stands beside an index; None where either is not what the backup wrote. A record that a disk has
    altered would go from each backup into the next."""
    try:
        beside = index.with_suffix(".json")
        local = records.from_json(
            LocalIndex, beside.read_bytes(), name=str(beside), schema=SCHEMA, upgrades=UPGRADES
        )
        with open(index, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, IntegrityError):
        return None
    return local if found == local.sha256 else None


def _complete_part(context: BackupContext, backup_id: str, tree: str) -> TreePart | None:
    manifest = context.catalog.get(backup_id)
    if manifest.host != context.config.host:
        return None
    return next((part for part in manifest.trees if part.name == tree and part.state == COMPLETE), None)
