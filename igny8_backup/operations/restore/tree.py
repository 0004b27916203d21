"""Restore one tree: write it into a staging folder, check it, swap it with the live tree, or swap it back."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.formats import keys
from igny8_backup.formats.manifest import StoredObject, TreePart
from igny8_backup.journal import TreeSwap
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.staging.attribute_warnings import note_owners, note_skips
from igny8_backup.operations.staging.scratch_folder import scratch_folder
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.trees.extract.client import Job, Report, Unpacker, unpacker
from igny8_backup.trees.extract.partition import Partition
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.remove import remove_tree
from igny8_backup.trees.index import index
from igny8_backup.trees.model.names import staging_name
from igny8_backup.trees.model.skips import OnSkip
from igny8_backup.trees.swap.plan import SwapPlan, plan_swap
from igny8_backup.trees.swap.swap import exchange, keep, state, undo
from igny8_backup.trees.swap.target import SwapTarget

READERS = 2
"""The number of packs that are read at the same time: one is decoded while the other waits for storage or
disk. Each needs about 20 MiB of memory."""


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
        target.make()
    packs = {keys.pack_of(item.key): item for item in part.packs}
    skip = note_skips(context.progress, part.name)
    with scratch_folder(_scratch_name(context.config.scratch_dir, target)) as folder:
        records = Partition(folder, packs)
        # The workers start while the index is read.
        with _unpackers(context, len(packs)) as processes:
            with closing(context.download(stored_index, identities)) as blocks:
                records.add_all(index.read(blocks))
            tree, items = target.new_tree, packs.items()
            owners_left = _extract_packs(
                context, processes, tree, items, folder, identities, skip, on_bytes, allow_set_id
            )
        with closing(TreeWriter(target.new_tree, on_skip=skip)) as writer:
            writer.finish(records.non_files())
            writer.flush()
        note_owners(context.progress, part.name, owners_left + writer.owners_left)
        record = next(records.non_files())
    return target.plan(record, skip)


def replan(tree: TreeSwap) -> TreeSwap:
    """Plan the swap again for the present contents of the root folder.

    Returns ``tree`` unchanged if its swap has begun.
    """
    plan = _plan(tree)
    staging = plan.find_staging()
    if staging.name != staging_name(plan.stamp) or (plan.children and state(plan) != "old"):
        return tree
    return replace(tree, plan=plan_swap(plan.folder, staging, plan.new, only=plan.only))


def require_previous_tree(tree: TreeSwap) -> None:
    """Raise ``FilesError`` if the previous tree is missing."""
    _plan(tree).find_staging()


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
    """Return the live, staging and previous path of a tree; ``stamp`` is that of its restore."""
    return SwapTarget(root=Path(tree.root), stamp=stamp, swap_root=tree.swap_root)


def remove_staging_tree(target: SwapTarget) -> None:
    """Remove a tree that was never swapped in. It may be missing."""
    with _keeping_mtime(target.folder):
        remove_tree(target.staging)


def remove_previous_tree(target: SwapTarget) -> None:
    """Remove the tree that a swap or an undo has kept. It may be missing."""
    with _keeping_mtime(target.folder):
        remove_tree(target.previous)


def _plan(tree: TreeSwap) -> SwapPlan:
    if tree.plan is None:
        raise RuntimeError(f"the tree {tree.name} is swapped before its swap was planned")
    return tree.plan


@contextmanager
def _keeping_mtime(folder: Path) -> Iterator[None]:
    """Restore the modification time of ``folder`` after the ``with`` block, if this user may set it."""
    try:
        times = os.stat(folder)
    except OSError:  # missing: the body of the "with" statement raises if it needs the folder
        yield
        return
    yield
    with suppress(OSError):
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))


def remove_scratch(folder: Path, target: SwapTarget) -> None:
    """Remove the scratch folder that a killed restore of this tree left in ``folder``, if any."""
    shutil.rmtree(_scratch_name(folder, target), ignore_errors=True)


def _scratch_name(folder: Path, target: SwapTarget) -> Path:
    # The name is derived from the journal, so that after a kill the next run finds the folder.
    digest = hashlib.sha256(os.fsencode(target.staging)).hexdigest()[:16]
    return folder / f"igny8_backup-{target.stamp}-{digest}"


class _Stopped(Exception):
    """Reading a pack (tar archive) was stopped, because another pack has failed."""


@contextmanager
def _unpackers(context: BackupContext, packs: int) -> Iterator[list[Unpacker]]:
    """Start the processes that unpack ``packs`` tar archives; stop them if the ``with`` block raises."""
    with ExitStack() as stack:
        count = min(READERS if context.store.parallel_reads else 1, packs)
        yield [stack.enter_context(unpacker()) for _ in range(count)]


def _extract_packs(
    context: BackupContext,
    processes: Collection[Unpacker],
    staging: Path,
    packs: Collection[tuple[str, StoredObject]],
    records: Path,
    identities: list[Identity],
    on_skip: OnSkip,
    on_bytes: Callable[[int], None],
    allow_set_id: bool,
) -> int:
    """Let ``processes`` write the files of ``packs`` (tar archives) into the folder ``staging``.

    Returns how many files and folders could not be given to their owner. ``records`` is the folder of a
    ``Partition`` that holds the records of the index. Each file is in one pack only, so packs may be written
    in any order. ``on_bytes`` is called by one thread at a time.

    Raises ``IntegrityError``, ``FilesError`` or ``StorageError``; no further pack is begun then.
    """
    stopped = threading.Event()
    reporting = threading.Lock()

    def counted(blocks: Blocks) -> Blocks:
        with closing(blocks):
            for block in blocks:
                if stopped.is_set():
                    raise _Stopped
                with reporting:
                    on_bytes(len(block))
                yield block

    waiting = deque(packs)

    def extract(process: Unpacker) -> Report:
        try:
            process.begin(Job(staging=str(staging), records=str(records), allow_set_id=allow_set_id))
            while not stopped.is_set():
                try:
                    name, item = waiting.popleft()
                except IndexError:
                    break
                process.unpack(name, counted(context.download(item, identities)))
            return process.finish()
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(READERS, thread_name_prefix="igny8-backup-pack") as pool:
        try:
            futures = [pool.submit(extract, process) for process in processes]
            wait(futures)
        except BaseException:
            stopped.set()
            raise
    failures = [error for future in futures if (error := future.exception())]
    if failures:
        raise next((error for error in failures if not isinstance(error, _Stopped)), failures[0])
    reports = [future.result() for future in futures]
    for report in reports:
        for path, reason in report.skipped:
            on_skip(os.fsencode(path), reason)
    return sum(report.owners_left for report in reports)
