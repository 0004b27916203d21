"""Find the parent backup: the earlier backup with which a run compares a tree, to store changed files only.

The parent backup must have a local index (``local_index``), and storage must still have this backup and all
its packs (tar archives): see :func:`find_parent_backup`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.formats import keys
from igny8_backup.formats.chunked import is_large_chunks
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.trees import local_index
from igny8_backup.operations.context import BackupContext

REWRITE_LIMIT = 256 << 20
"""The largest number of live bytes (of files that are still needed) that one run stores again. Storing the
live files of a pack (tar archive) again makes it possible to delete the pack later."""
MOSTLY_DEAD = 0.5
"""The live files of a pack are stored again when less than this share of its bytes is live."""
MAX_PACKS = 200
"""A backup that needs more packs than this also stores the files of the smallest packs again."""
FULL_RUNS_LIMIT = 3
"""If this many backups in a row stored every file, the next run that has to do so again shows a warning, and
``monitor_backups`` reports the tree."""


@dataclass(frozen=True)
class ParentBackup:
    """The earlier backup with which a run compares a tree, to store changed files only.

    ``index`` is the local list of the files in that backup. ``packs_to_rewrite`` are packs (tar archives)
    that are damaged, or that contain few files that are still needed. The needed files in them are stored
    again although they have not changed. ``damaged_packs`` is the number of damaged packs. ``local``
    is the metadata of the index. ``chunk_packs`` are the undamaged packs of chunks of large files, by name.
    """

    backup_id: str
    index: Path
    part: TreePart
    packs_to_rewrite: frozenset[str]
    local: local_index.LocalIndex
    chunk_packs: Mapping[str, StoredObject]
    damaged_packs: int = 0


def stored_packs(context: BackupContext, tree: str) -> dict[str, int]:
    """Return the packs (tar archives) of a tree of this host in storage: their keys and sizes in bytes.

    Raises ``StorageError``.
    """
    folder = keys.pack_folder(context.config.host, tree)
    return {item.key: item.size for item in context.store.list(folder.removesuffix("/"), {})}


def lost_pack(context: BackupContext, part: TreePart) -> str:
    """Return the key of an object that ``part`` needs and storage no longer has, or ``""``.

    The objects are the packs (tar archives) of the tree and the lists that describe them. A full backup needs
    no objects of earlier backups, so nothing is checked for it. Raises ``StorageError``.
    """
    if part.state != COMPLETE or part.full:
        return ""
    stored = stored_packs(context, part.name)
    lost = (pack.key for pack in part.packs if stored.get(pack.key) != pack.stored_bytes)
    lists = sorted({pack.named_in.key for pack in part.packs if pack.named_in})
    return next(lost, "") or next((key for key in lists if not context.store.exists(key)), "")


def find_parent_backup(
    context: BackupContext, tree: str, damaged: Collection[str] = (), suspects: Collection[str] = ()
) -> tuple[ParentBackup | None, str]:
    """Find the newest backup with which a run can compare ``tree``, to store changed files only.

    ``damaged`` are the keys of damaged objects, which the new backup must not need. ``suspects`` are the ids
    of backups in which the tree is suspect, for example because its volume was not mounted. A suspect backup
    is used only if no other can be used; otherwise every file would be stored again as soon as the volume is
    mounted again. If there is no backup to compare with, the second value is the reason, such as ``the
    recipients have changed``; it is empty if the tree has never been backed up. Raises ``StorageError``.
    """
    stored = stored_packs(context, tree)
    reason = f"there is no index of it in {local_index.index_folder(context, tree)}" if stored else ""
    found = sorted(local_index.index_folder(context, tree).glob("*.index"), reverse=True)
    for path in sorted(found, key=lambda path: path.stem in suspects):
        part, unusable = _complete_part(context, path.stem, tree)
        if part is None:
            reason = unusable or f"the backup {path.stem} has no complete copy of it"
        elif (local := local_index.read_metadata(path)) is None:
            reason = f"{path} is damaged"
        elif set(local.recipients) != set(context.codec.recipients):
            reason = "the recipients have changed"
        elif problem := _lists_problem(context, part, local):
            reason = problem.format(path.stem)
        elif any(stored.get(pack.key) != pack.stored_bytes for pack in part.packs):
            reason = f"storage no longer has all the packs (tar archives) of {path.stem}"
        else:
            return _parent_backup(path, part, local, damaged), ""
    return None, reason


def _parent_backup(
    path: Path, part: TreePart, local: local_index.LocalIndex, damaged: Collection[str]
) -> ParentBackup:
    broken = {keys.pack_of(pack.key) for pack in part.packs if pack.key in damaged}
    chunks = {keys.pack_of(pack.key): pack for pack in part.packs if is_large_chunks(pack.key)}
    hurt = {tar for tar in local.large if not broken.isdisjoint(local.large[tar].packs)}
    return ParentBackup(
        backup_id=path.stem,
        index=path,
        part=part,
        packs_to_rewrite=packs_to_rewrite(part, local) | (broken - chunks.keys()) | hurt,
        local=local,
        chunk_packs={name: pack for name, pack in chunks.items() if name not in broken},
        damaged_packs=len(broken),
    )


def full_runs(context: BackupContext, tree: str) -> int:
    """Return how many backups of a tree in a row, counted back from the newest, stored every file.

    Counting ends at a backup that stored changed files only, and at ``FULL_RUNS_LIMIT``.
    """
    ids = {keys.pack_writer(keys.pack_of(key)) for key in stored_packs(context, tree)}
    count = 0
    for backup_id in sorted(ids, reverse=True)[:FULL_RUNS_LIMIT]:
        part, unusable = _complete_part(context, backup_id, tree)
        if part is not None and part.full:
            count += 1
        elif not unusable:
            break
    return count


def packs_to_rewrite(part: TreePart, local: local_index.LocalIndex) -> frozenset[str]:
    """Choose the packs (tar archives) to replace: the next backup stores their live files again.

    Live files are those that the backup needs; ``local``, the metadata of its local index, has the number of
    their bytes in each pack. Packs of chunks are not chosen, but the tars of large files are. Packs whose
    share of live bytes is below ``MOSTLY_DEAD`` are chosen first, the smallest share first. If more than
    ``MAX_PACKS`` packs are left, those with the fewest live bytes are chosen too. All chosen packs together
    have at most ``REWRITE_LIMIT`` live bytes. The old packs can be deleted later.
    """
    live_bytes = local.live_bytes
    sizes = {keys.pack_of(pack.key): pack.raw_bytes for pack in part.packs if not is_large_chunks(pack.key)}
    sizes |= {tar: found.bytes for tar, found in local.large.items() if tar in sizes}
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


def _lists_problem(context: BackupContext, part: TreePart, local: local_index.LocalIndex) -> str:
    """Return why the packs (tar archives) of a tree in an earlier backup cannot be trusted.

    ``part`` is the entry of the tree in the manifest of that backup, ``local`` the metadata of its local
    index. In the text, ``{}`` stands for the backup. The text is empty if the packs can be trusted.
    """
    if part.packs_problem:
        return "a list of the packs of {} is missing or damaged"
    names = {keys.pack_of(pack.key) for pack in part.packs}
    needed = local.live_bytes.keys() | {pack for tar in local.large.values() for pack in tar.packs}
    if local.lists != {item.key: item.sha256 for item in part.pack_lists} or not needed <= names:
        return "the manifest of {} in storage is not the one that this host wrote"
    unchecked = (
        context.config.signing_key and not context.config.trust.required
    )  # else the manifest is trusted
    if unchecked and part.packs and not part.pack_lists:
        return "an earlier release made {}, and TRUSTED names no key to check its signature with"
    return ""


def _complete_part(context: BackupContext, backup_id: str, tree: str) -> tuple[TreePart | None, str]:
    """Return the entry of ``tree`` in the manifest of the backup, and a reason.

    The entry is ``None`` if the copy of the tree is incomplete or missing, or if the manifest cannot be used.
    The reason says why the manifest cannot be used; otherwise it is empty. An untrusted manifest is not used:
    the next backup would refer to packs (tar archives) that could be forged, and this host would sign it.
    """
    entry = next(iter(context.catalog.entries([backup_id])), None)
    if entry is None:
        return None, f"storage no longer has the backup {backup_id}"
    if entry.manifest is None:
        return None, f"the manifest of the backup {backup_id} cannot be read from storage"
    if entry.untrusted:
        return None, f"the backup {backup_id} is not trusted: {entry.untrusted}"
    if entry.manifest.host != context.config.host:
        return None, f"{backup_id} is a backup of another host"
    if entry.manifest.replaces:
        return None, f"the recipients of the backup {backup_id} were changed"
    found = (part for part in entry.manifest.trees if part.name == tree and part.state == COMPLETE)
    return next(found, None), ""
