"""Restore one tree: write it into a staging folder, check it, swap it with the live tree, or swap it back."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.journal import TreeSwap
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.tree_packs import TreePacks
from igny8_backup.operations.restore.unpack import extract_packs, unpackers
from igny8_backup.operations.staging.attribute_warnings import note_owners, note_skips
from igny8_backup.operations.staging.scratch_folder import scratch_folder
from igny8_backup.streams.age import Identity
from igny8_backup.trees.extract.partition import Partition
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.remove import remove_tree
from igny8_backup.trees.index import index
from igny8_backup.trees.model.names import staging_name
from igny8_backup.trees.swap.keep import keep, unkeep
from igny8_backup.trees.swap.plan import SwapPlan, plan_swap
from igny8_backup.trees.swap.swap import exchange, state, swap_back_blockers, undo
from igny8_backup.trees.swap.target import SwapTarget


def build_staging_tree(
    context: BackupContext,
    part: TreePart,
    target: SwapTarget,
    identities: list[Identity],
    on_bytes: Callable[[int], None],
    *,
    allow_set_id: bool = False,
) -> SwapPlan:
    """Write the tree ``part`` into a staging folder and check every digest; return the plan of the swap.

    Creates the root if it does not exist. ``on_bytes`` receives the number of bytes read. ``allow_set_id``
    restores set-ID bits and capabilities of files. Raises ``IntegrityError``, ``FilesError``,
    ``StorageError``.
    """
    stored_index = part.stored_index
    root = target.root
    try:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        what = f"{root} cannot be created: {error.strerror}."
        hint = "Run the restore on a host where the tree is mounted writable."
        raise FilesError(what, unchanged="Nothing live was changed.", hint=hint) from None
    with _keeping_mtime(target.folder):
        tree = target.make()
    packs = TreePacks(context, part.name, part.stored_packs, identities)
    skip = note_skips(context.progress, part.name)
    with scratch_folder(_scratch_name(context.config.scratch_dir, target)) as folder:
        records = Partition(folder, packs.names)
        # The workers start while the index is read.
        with unpackers(context, len(packs.names), tree, folder) as workers:
            with closing(context.download(stored_index, identities)) as blocks:
                records.add_all(index.read(blocks))
            owners_left = extract_packs(
                workers, tree, packs, packs.names, folder, skip, on_bytes, allow_set_id
            )
        with closing(TreeWriter(tree, on_skip=skip)) as writer:
            writer.finish(records.non_files())
            writer.flush()
        note_owners(context.progress, part.name, owners_left + writer.owners_left)
        record = next(records.non_files())
    return target.plan(record, skip, context.journals.kept_in(target.folder))


def replan(context: BackupContext, tree: TreeSwap) -> TreeSwap:
    """Plan the swap again, because the contents of the root folder may have changed since the plan was made.

    Returns ``tree`` with the new plan, or unchanged if its swap has begun.
    """
    plan = _plan(tree)
    staging = plan.find_staging()
    if staging.name != staging_name(plan.stamp) or (plan.children and state(plan) != "old"):
        return tree
    own = context.journals.kept_in(plan.folder)
    return replace(tree, plan=plan_swap(plan.folder, staging, plan.new, only=plan.only, own=own))


def plan_again(tree: TreeSwap) -> TreeSwap:
    """Plan a redo: the swap that makes the restored tree live again after an undo.

    The folder that keeps the restored tree becomes a staging folder again. Returns ``tree`` with a new plan
    for the present contents of the root folder.
    """
    plan = _plan(tree)
    staging = unkeep(plan)
    return replace(tree, plan=plan_swap(plan.folder, staging, plan.new, only=plan.only))


def require_kept_tree(tree: TreeSwap) -> None:
    """Raise ``FilesError`` if the tree that the last swap replaced is missing."""
    _plan(tree).find_staging()


def check_swap_back(tree: TreeSwap) -> None:
    """Raise ``FilesError`` if an undo would meet a file or folder that it cannot move. Nothing is changed."""
    plan = _plan(tree)
    if blockers := swap_back_blockers(plan):
        raise FilesError(
            f"The previous files of {tree.name!r} cannot be swapped back: {blockers[0].why}.",
            unchanged="Nothing was changed.",
            hint=f"{blockers[0].advice}. Then run undo_restore again.",
        )


def swap(tree: TreeSwap) -> None:
    """Make the restored tree the live one, or complete a swap that has begun. The previous tree is kept."""
    plan = _plan(tree)
    exchange(plan)
    keep(plan)


def swap_back(tree: TreeSwap) -> None:
    """Make the previous tree the live one again. The restored tree is kept where the previous one was."""
    plan = _plan(tree)
    undo(plan)
    keep(plan)


def target_of(tree: TreeSwap, stamp: str) -> SwapTarget:
    """Return the paths of the live, staging and previous tree.

    ``stamp`` is the start time of the restore, in the form that the names of its folders contain.
    """
    return SwapTarget(root=Path(tree.root), stamp=stamp, swap_root=tree.swap_root)


def remove_staging_tree(target: SwapTarget) -> None:
    """Remove the staging tree of a restore that has swapped nothing. A missing tree is no error."""
    with _keeping_mtime(target.folder):
        remove_tree(target.staging)


def remove_previous_tree(target: SwapTarget) -> None:
    """Remove the tree that a swap or an undo has replaced. Nothing happens if it is missing."""
    with _keeping_mtime(target.folder):
        remove_tree(target.previous)


def _plan(tree: TreeSwap) -> SwapPlan:
    if tree.plan is None:
        raise RuntimeError(f"the tree {tree.name} is swapped before its swap was planned")
    return tree.plan


@contextmanager
def _keeping_mtime(folder: Path) -> Iterator[None]:
    """Restore the modification time of ``folder`` after the ``with`` block, if this user may set it.

    Nothing is restored if the folder cannot be opened.
    """
    try:
        # A descriptor: somebody else may own the folder above, and put a symlink here meanwhile.
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # missing: the body of the "with" statement raises if it needs the folder
        yield
        return
    try:
        times = os.fstat(fd)
        yield
        with suppress(OSError):
            os.utime(fd, ns=(times.st_atime_ns, times.st_mtime_ns))
    finally:
        os.close(fd)


def remove_scratch(folder: Path, target: SwapTarget) -> None:
    """Remove the temporary folder that a killed restore of this tree left in ``folder``, if any."""
    shutil.rmtree(_scratch_name(folder, target), ignore_errors=True)


def _scratch_name(folder: Path, target: SwapTarget) -> Path:
    # The name is derived from the journal, so that after a kill the next run finds the folder.
    digest = hashlib.sha256(os.fsencode(target.staging)).hexdigest()[:16]
    return folder / f"igny8_backup-{target.stamp}-{digest}"
