"""Back up one tree: store packs (tar archives) of its files, a tar of its folders, and the index.

The page "Storage format" of the documentation describes these objects. :func:`backup_tree` is the entry
point.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.formats import keys
from igny8_backup.formats.details import Skipped
from igny8_backup.formats.manifest import COMPLETE, StoredObject, TreePart
from igny8_backup.operations.backup import parent_index
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.progress import RunObserver
from igny8_backup.operations.upload import index_codec
from igny8_backup.streams.observe import Digest
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees.archive.client import Job, Report, tree_reader

_WORK_FOLDER = ".new-"
"""Prefix of the folder, inside the state folder of a tree, that holds the files of a running backup."""


def backup_tree(
    context: BackupContext,
    backup_id: str,
    part: TreePart,
    root: Path,
    request: BackupRequest,
    observer: RunObserver,
) -> tuple[TreePart, list[Skipped]]:
    """Back up the tree at ``root``; return ``part`` (its entry in the manifest) and the skipped files.

    Files that have not changed since the last backup of this tree are not opened: their content stays in the
    tar archives of that backup. Raises ``FilesError`` if ``root`` is not a folder, ``StorageError``.
    """
    config, codec, suffix = context.config, context.files_codec, context.codec.suffix
    files = size = 0

    def report_progress(files_now: int, size_now: int) -> None:
        nonlocal files, size
        observer.waiting_for("the files")
        observer.advance(size_now - size, files_now - files)
        files, size = files_now, size_now

    new_packs: list[StoredObject] = []
    with _work_folder(parent_index.index_folder(context, part.name)) as folder, tree_reader() as reader:
        parent = _find_parent(context, part.name, request, observer)
        observer.waiting_for("the files")
        job = Job(
            root=str(root),
            backup_id=backup_id,
            index=str(folder / "index"),
            folders=str(folder / "folders"),
            parent_index=str(parent.index) if parent else "",
            checksum=request.checksum,
            packs_to_rewrite=tuple(parent.packs_to_rewrite) if parent else (),
            excluded=config.patterns_of(part.name),
            exclude_caches=config.exclude_caches,
        )
        for name, blocks in reader.read(job, on_progress=report_progress):
            key = keys.pack_key(config.host, part.name, name, suffix)
            # Not counted here: report_progress counts unchanged files as well.
            pack = observer.monitor(blocks, source="the files", sink="the storage", counted=False)
            new_packs.append(context.upload(key, codec=codec).send(pack))
        observer.waiting_for("the storage")
        report = reader.report
        folders_key = keys.folders_key(backup_id, part.name, suffix)
        folders = context.upload(folders_key, codec=codec, claimed=True).send_by_file(
            from_file(job.folders), folder
        )
        raw_index = Digest()
        index_key = keys.index_key(backup_id, part.name, suffix)
        stored_index = context.upload(index_key, codec=index_codec(codec), claimed=True).send_by_file(
            raw_index.watch(from_file(job.index)), folder
        )
        parent_index.save_local_index(
            context, part.name, backup_id, Path(job.index), report.live_bytes, raw_index.sha256
        )
        parent_index.remove_other_indexes(context, part.name, {backup_id, parent.backup_id if parent else ""})
    parent_packs = parent.part.packs if parent else ()
    still_needed = [pack for pack in parent_packs if keys.pack_of(pack.key) in report.live_bytes]
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
        skipped=report.skipped_total,
        excluded=report.excluded,
    )
    return done, _skipped(part.name, report)


def _find_parent(
    context: BackupContext, tree: str, request: BackupRequest, observer: RunObserver
) -> parent_index.ParentBackup | None:
    """Return the backup to compare the tree with, if any; begin to report progress."""
    parent, reason = parent_index.find_parent_backup(context, tree)
    if reason and not request.full:
        _note_full_run(context, tree, reason)
    # The size of the last backup is the best estimate for this one.
    observer.begin(parent.part.bytes if parent else None, parent.part.files if parent else None)
    return None if request.full else parent


def _note_full_run(context: BackupContext, tree: str, reason: str) -> None:
    """Note why every file is stored again, and warn if that happened in the last runs too."""
    context.progress.note(f"{tree}: every file is read and stored again, because {reason}.")
    limit = parent_index.FULL_RUNS_LIMIT
    if parent_index.full_runs(context, tree) >= limit:
        context.progress.note(
            f"WARNING: {tree}: the last {limit} backups stored every file again too. Is STATE_DIR"
            f" ({context.config.state_dir}) kept between runs? In a container it must be on a volume."
        )


def _skipped(tree: str, report: Report) -> list[Skipped]:
    listed = [Skipped(tree=tree, path=p, reason=reason, failure=f) for p, reason, f in report.skipped]
    if more := report.skipped_total - len(listed):
        listed.append(Skipped(tree=tree, path="", reason=f"{more} more were skipped"))
    return listed


@contextmanager
def _work_folder(state_folder: Path) -> Iterator[Path]:
    """Create a private folder for temporary files of this backup, and remove it at the end.

    Folders that killed runs left are removed first. The folder is in ``state_folder``, so that the finished
    index can be renamed into that folder.
    """
    try:
        _make_private(state_folder)
        for stale in state_folder.glob(f"{_WORK_FOLDER}*"):
            shutil.rmtree(stale)  # this run holds the lock, so no other run uses the folder
        with tempfile.TemporaryDirectory(dir=state_folder, prefix=_WORK_FOLDER) as folder:
            yield Path(folder)
    except OSError as error:
        what = f"The state folder {state_folder} cannot be written: {error.strerror}."
        hint = "Free some space there, or move IGNY8_BACKUP['STATE_DIR'] to a persistent volume."
        raise FilesError(what, unchanged="This tree is not in the backup.", hint=hint) from None


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
