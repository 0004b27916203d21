"""One tree: written beside the live one, checked, then swapped child by child (law 3)."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import TreePart
from igny8_backup.journal import TreeSwap
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.restore.unpack import extract_packs, unpackers
from igny8_backup.operations.staging.attribute_warnings import note_owners, note_skips
from igny8_backup.streams.age import Identity
from igny8_backup.trees.extract.partition import Partition, partition_index
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.remove import remove_tree
from igny8_backup.trees.model.names import staging_name
from igny8_backup.trees.swap.plan import SwapPlan, plan_swap
from igny8_backup.trees.swap.swap import exchange, keep, state, undo
from igny8_backup.trees.swap.target import SwapTarget


def prepare(
    context: BackupContext,
    part: TreePart,
    place: SwapTarget,
    identities: list[Identity],
    on_bytes: Callable[[int], None],
    *,
    allow_set_id: bool = False,
) -> SwapPlan:
    """Write the tree of ``part`` into the staging folder, checking every digest. Returns the swap plan.

    A root that does not exist is made. ``allow_set_id`` lets set-id bits and capabilities of files come
    back. Raises ``IntegrityError``, ``FilesError``, ``StorageError``.
    """
    if part.index is None:
        raise IntegrityError(f"The backup of {part.name!r} names no index.")
    root = place.root
    try:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise FilesError(
            f"{root} cannot be made: {error.strerror}.",
            unchanged="Nothing live was changed.",
            hint="Run the restore where the tree is mounted writable.",
        ) from None
    with _same_time(place.folder):
        place.make()
    packs = {keys.pack_of(item.key): item for item in part.packs}
    skip = note_skips(context.progress, part.name)
    with _scratch_folder(context.config.scratch_dir, place) as folder:
        records = Partition(folder, packs)
        blocks = context.download(part.index, identities)
        with unpackers(context, len(packs)) as processes:
            owners_left = extract_packs(
                context,
                processes,
                place.new_tree,
                packs.items(),
                folder,
                identities,
                read_index=lambda: partition_index(records, blocks),
                on_skip=skip,
                on_bytes=on_bytes,
                allow_set_id=allow_set_id,
            )
        with TreeWriter(place.new_tree, on_skip=skip) as writer:
            writer.finish(records.others())
            writer.flush()
        owners_left += writer.owners_left
        note_owners(context.progress, part.name, owners_left)
        record = next(records.others())
    return place.plan(record, skip)


def planned_again(tree: TreeSwap) -> TreeSwap:
    """The swap, planned for the root as it is now, if nothing of it was swapped yet; else as it was."""
    plan = _plan(tree)
    side = plan.find_staging()
    if side.name != staging_name(plan.stamp) or (plan.children and state(plan) != "old"):
        return tree
    return replace(tree, plan=plan_swap(plan.folder, side, plan.new, only=plan.only))


def check_kept(tree: TreeSwap) -> None:
    """Raises ``FilesError`` when what the swap set aside is gone."""
    _plan(tree).find_staging()


def swap(tree: TreeSwap) -> None:
    """The new tree becomes the live one, from wherever an earlier try stopped; the old one is kept."""
    plan = _plan(tree)
    exchange(plan)
    keep(plan)


def swap_back(tree: TreeSwap) -> None:
    """The old tree becomes the live one again; the new one is kept where the old one was."""
    plan = _plan(tree)
    undo(plan)
    keep(plan)


def place_of(tree: TreeSwap, stamp: str) -> SwapTarget:
    """Where the tree of a journal with this stamp is swapped."""
    return SwapTarget(root=Path(tree.root), stamp=stamp, swap_root=tree.swap_root)


def remove_staging(place: SwapTarget) -> None:
    """Removes a tree that was never swapped in; a missing one is fine."""
    with _same_time(place.folder):
        remove_tree(place.staging)


def remove_kept(place: SwapTarget) -> None:
    """Removes what a swap, or its undoing, keeps; a missing one is fine."""
    with _same_time(place.folder):
        remove_tree(place.previous)


def _plan(tree: TreeSwap) -> SwapPlan:
    if tree.plan is None:
        raise RuntimeError(f"the tree {tree.name} is swapped before its swap was planned")
    return tree.plan


@contextmanager
def _same_time(root: Path) -> Iterator[None]:
    """What we put into the live root and take out again leaves its time as it was, where we may set it."""
    try:
        times = os.stat(root)
    except OSError:  # it is not there: whoever needs it says so
        yield
        return
    yield
    with suppress(OSError):
        os.utime(root, ns=(times.st_atime_ns, times.st_mtime_ns))


def remove_scratch(folder: Path, place: SwapTarget) -> None:
    """Removes the records that a killed restore of this tree left in the scratch ``folder``; none is fine."""
    shutil.rmtree(_scratch_name(folder, place), ignore_errors=True)


def _scratch_name(folder: Path, place: SwapTarget) -> Path:
    # Known beforehand, so that the next run finds it; a folder that somebody else made is not taken.
    named = hashlib.sha256(os.fsencode(place.staging)).hexdigest()[:16]
    return folder / f"igny8_backup-{place.stamp}-{named}"


@contextmanager
def _scratch_folder(folder: Path, place: SwapTarget) -> Iterator[Path]:
    """A private folder for the records of the tree, which are asked for once for each pack."""
    scratch = _scratch_name(folder, place)
    try:
        scratch.mkdir(0o700)
    except OSError as error:
        raise FilesError(
            f"No scratch folder can be made in {folder}: {error.strerror}.",
            unchanged="Nothing live was changed.",
            hint="Point IGNY8_BACKUP['SCRATCH_DIR'] at a folder that may be written.",
        ) from None
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)
