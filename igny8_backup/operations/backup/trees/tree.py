"""Back up one tree: store packs (tar archives) of its files, a tar of its folders, and the index.

The page "Storage format" of the documentation describes these objects. :func:`backup_tree` is the entry
point.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from igny8_backup.common.filesystem import make_private
from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import FilesError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.details import Skipped, TreeDetails
from igny8_backup.formats.manifest import COMPLETE
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.suspects import SizeCheck
from igny8_backup.operations.backup.trees import local_index, parent_index
from igny8_backup.operations.backup.trees.exclusions import (
    details_of,
    kept_in,
    note_lookalikes,
    note_newly_excluded,
)
from igny8_backup.operations.backup.trees.large_files import LargeFiles, large_in_chunks
from igny8_backup.operations.backup.trees.mounts import note_changed_mounts, remember_mounts
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.progress import RunObserver
from igny8_backup.operations.transfer.upload import index_codec
from igny8_backup.streams.observe import Digest
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees.archive.client import Job, Report, tree_reader
from igny8_backup.trees.model.names import escape

_WORK_FOLDER = ".new-"
"""Prefix of the folder, inside the state folder of a tree, that holds the files of a running backup."""


def backup_tree(
    context: BackupContext,
    backup_id: str,
    part: TreePart,
    root: Path,
    request: BackupRequest,
    observer: RunObserver,
    sizes: SizeCheck,
) -> tuple[TreePart, TreeDetails, list[Skipped]]:
    """Back up the tree at ``root``.

    Files that have not changed since the last backup of this tree are not opened: the new backup refers to
    the packs (tar archives) of the last one. If ``sizes`` knows that a pack is damaged, the files in it are
    stored again. ``observer`` receives the progress.

    Returns the completed ``part`` (the entry of the tree in the manifest), the details of the tree, and the
    paths that were skipped. Raises ``FilesError`` if ``root`` is not a folder, ``StorageError``.
    """
    config, codec, suffix = context.config, context.files_codec, context.codec.suffix
    files = size = 0

    def report_progress(files_now: int, size_now: int) -> None:
        nonlocal files, size
        observer.waiting_for("the files")
        observer.advance(size_now - size, files_now - files)
        files, size = files_now, size_now

    new_packs: list[StoredObject] = []
    with (
        _work_folder(local_index.index_folder(context, part.name)) as folder,
        tree_reader() as reader,
        ExitStack() as stack,
    ):
        parent, compared = _find_parent(context, part.name, request, observer, sizes)
        own = kept_in(context, root)
        note_lookalikes(context, part.name, root, own)
        mounts = note_changed_mounts(context, part.name, root)
        observer.waiting_for("the files")
        large = None
        if large_in_chunks(context, part.name):
            codec = replace(codec, workers=min(codec.workers, 1))  # there are two compressors
            large = LargeFiles(context, part.name, backup_id, parent, observer.waiting_for)
            stack.enter_context(large)
        job = Job(
            root=str(root),
            backup_id=backup_id,
            index=str(folder / "index"),
            folders=str(folder / "folders"),
            parent_index=str(compared or ""),
            full=parent is None,
            checksum=request.checksum,
            large_in_chunks=large is not None,
            packs_to_rewrite=tuple(parent.packs_to_rewrite) if parent else (),
            excluded=config.patterns_of(part.name),
            exclude_caches=part.name in config.exclude_caches,
            own=tuple(map(escape, own)),
        )
        for name, blocks in reader.read(job, on_progress=report_progress, large=large):
            key = keys.pack_key(config.host, part.name, name, suffix)
            # Not counted here: report_progress counts unchanged files as well.
            pack = observer.monitor(blocks, source="the files", sink="the storage", counted=False)
            new_packs.append(context.upload(key, codec=codec).send(pack))
        observer.waiting_for("the storage")
        report = reader.report
        earlier_tars = parent.local.large if parent else {}
        tars = {name: tar for name, tar in earlier_tars.items() if name in report.live_bytes}
        if large:
            new_packs += large.store_indexes()
            tars |= large.tars
        needed = report.live_bytes.keys() | {pack for tar in tars.values() for pack in tar.packs}
        if large:
            large.save_map(needed)
        folders_key = keys.folders_key(backup_id, part.name, suffix)
        folders = context.upload(folders_key, codec=codec, claimed=True).send_by_file(
            from_file(job.folders), folder
        )
        raw_index = Digest()
        index_key = keys.index_key(backup_id, part.name, suffix)
        stored_index = context.upload(index_key, codec=index_codec(codec), claimed=True).send_by_file(
            raw_index.watch(from_file(job.index)), folder
        )
        local_index.save_local_index(
            context, part.name, backup_id, Path(job.index), report.live_bytes, raw_index.sha256, tars
        )
        remember_mounts(context, part.name, mounts)
        local_index.remove_other_indexes(context, part.name, {backup_id, parent.backup_id if parent else ""})
    parent_packs = parent.part.packs if parent else ()
    still_needed = [pack for pack in parent_packs if keys.pack_of(pack.key) in needed]
    done = replace(
        part,
        state=COMPLETE,
        full=parent is None,
        index=stored_index,
        folders=folders,
        packs=(*still_needed, *new_packs),
        files=report.kinds["file"],
        directories=report.kinds["dir"],
        links=report.kinds["symlink"] + report.kinds["hardlink"],
        bytes=report.bytes,
        allocated=report.facts.allocated,
        skipped=report.skipped_total,
        excluded=report.facts.excluded,
    )
    details = details_of(part.name, job, report)
    note_newly_excluded(context, details)
    return done, details, _skipped(part.name, report)


def lost_pack(context: BackupContext, part: TreePart) -> StorageError | None:
    """Return an error if an object of an earlier backup that ``part`` needs is gone from storage.

    Raises ``StorageError`` if the storage cannot be listed.
    """
    if not (lost := parent_index.lost_pack(context, part)):
        return None
    return StorageError(
        f"The pack {lost}, which holds files of {part.name!r}, disappeared from storage during this backup."
        " The earlier backups that need it are damaged.",
        unchanged="The other databases and trees of this backup are not affected.",
        hint=f"Store every file again: python manage.py backup_sites {part.name} --full.",
    )


def _find_parent(
    context: BackupContext,
    tree: str,
    request: BackupRequest,
    observer: RunObserver,
    sizes: SizeCheck,
) -> tuple[parent_index.ParentBackup | None, Path | None]:
    """Return the backup to compare the tree with, if any, and the newest local index (file list).

    If there is no backup to compare with, every file is stored again, and the index only serves to find the
    newly excluded files. This function also begins the progress report of ``observer``, with the size of the
    backup that was found as the estimate.
    """
    parent, reason = parent_index.find_parent_backup(
        sizes.snapshot, tree, sizes.damaged_keys, sizes.suspects_of_tree(tree)
    )
    if parent and parent.damaged_packs and not request.full:
        context.progress.note(
            f"{tree}: the files in {count_in_words(parent.damaged_packs, 'damaged pack')} (objects in"
            " storage) are read from the disk and stored again."
        )
    if reason and not request.full:
        _note_full_run(context, tree, reason, parent_index.full_runs(sizes.snapshot, tree))
    # The size of the last backup is the best estimate for this one.
    observer.begin(parent.part.bytes if parent else None, parent.part.files if parent else None)
    newest = parent.index if parent else local_index.newest_local_index(context, tree)
    return None if request.full else parent, newest


def _note_full_run(context: BackupContext, tree: str, reason: str, full_runs: int) -> None:
    """Note why every file is stored again; warn if too many backups in a row (``full_runs``) did so."""
    context.progress.note(f"{tree}: every file is read and stored again, because {reason}.")
    limit = parent_index.FULL_RUNS_LIMIT
    if full_runs >= limit:
        context.progress.note(
            f"WARNING: {tree}: the last {limit} backups also stored every file again. The usual cause is that"
            f" STATE_DIR ({context.config.state_dir}) is lost between runs: in a container, use a volume."
        )


def _skipped(tree: str, report: Report) -> list[Skipped]:
    listed = [Skipped(tree=tree, path=p, reason=reason, failure=f) for p, reason, f in report.skipped]
    if more := report.skipped_total - len(listed):
        listed.append(Skipped(tree=tree, path="", reason=f"{more} more were skipped"))
    return listed


@contextmanager
def _work_folder(state_folder: Path) -> Iterator[Path]:
    """Create a private folder for temporary files; remove it at the end of the ``with`` block.

    Folders that killed runs left are removed first. The folder is in ``state_folder``, so that the finished
    index can be renamed into that folder.
    """
    try:
        make_private(state_folder)
        for stale in state_folder.glob(f"{_WORK_FOLDER}*"):
            shutil.rmtree(stale)  # this run holds the lock, so no other run uses the folder
        with tempfile.TemporaryDirectory(dir=state_folder, prefix=_WORK_FOLDER) as folder:
            yield Path(folder)
    except OSError as error:
        what = f"The state folder {state_folder} cannot be written: {error.strerror}."
        hint = "Free some space there, or move IGNY8_BACKUP['STATE_DIR'] to a persistent volume."
        raise FilesError(what, unchanged="This tree is not in the backup.", hint=hint) from None
