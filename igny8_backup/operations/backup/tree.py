"""One tree: packs while the walk goes on, then the folders' tar and the index.

The page "Storage format" of the documentation describes each object.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from igny8_backup.errors import FilesError
from igny8_backup.formats import keys
from igny8_backup.formats.details import Skipped
from igny8_backup.formats.manifest import COMPLETE, StoredObject, TreePart
from igny8_backup.operations.backup import parent_index
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.stalls import StallMonitor
from igny8_backup.operations.upload import encoded_in_thread
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees.archive.client import Job, Report, read_report, tree_reader

NEW = ".new-"
"""What the name of a folder in the state folder begins with, in which a backup is at work."""


@dataclass(frozen=True, kw_only=True)
class TreeRequest:
    """How much of a tree is read: ``full`` reads and stores everything; ``checksum`` reads everything, and
    stores what differs from the last backup."""

    full: bool = False
    checksum: bool = False


def backup_tree(
    context: BackupContext,
    backup_id: str,
    part: TreePart,
    root: Path,
    request: TreeRequest,
    *,
    on_progress: Callable[[int, int], None],
) -> tuple[TreePart, list[Skipped]]:
    """Backs up the tree below ``root`` as ``part``; returns the part, complete, and what was skipped.

    Files that the last backup of this tree knows as they are stay in its packs and are not opened.
    ``on_progress`` hears of bytes and files as they are done with, those included. Raises
    ``FilesError`` for a root that is no folder, ``StorageError``.
    """
    config, codec, suffix = context.config, context.files_codec, context.codec.suffix
    what = f"files {part.name}"
    files = size = 0
    watch = StallMonitor(what, context.progress, seconds=config.stall_seconds)

    def told(files_now: int, size_now: int) -> None:
        nonlocal files, size
        watch.wait_for("the files")
        on_progress(size_now - size, files_now - files)
        files, size = files_now, size_now

    new: list[StoredObject] = []
    with watch, _state_files(parent_index.folder_of(context, part.name)) as folder, tree_reader() as reader:
        earlier = _begin(context, part.name, request, what)
        watch.wait_for("the files")
        job = Job(
            root=str(root),
            packs=backup_id,
            index=str(folder / "index"),
            folders=str(folder / "folders"),
            report=str(folder / "report"),
            known=str(earlier.index) if earlier else "",
            checksum=request.checksum,
            packs_to_rewrite=tuple(earlier.packs_to_rewrite) if earlier else (),
            excluded=config.patterns_of(part.name),
            tagged=config.exclude_caches,
        )
        with encoded_in_thread(Path(job.index), codec, at_end=earlier is None) as index:
            for name, blocks in reader.read(job, on_progress=told):
                key = keys.pack_key(config.host, part.name, name, suffix)
                watched = watch.through(blocks, source="the files", sink="the storage")
                new.append(context.upload(key, watched, codec=codec))
            watch.wait_for("the storage")
            report = read_report(job)
            folders = context.upload(
                keys.folders_key(backup_id, part.name, suffix),
                from_file(job.folders),
                codec=codec,
                claimed=True,
                through=folder,
            )
            stored = index.store(context.store, keys.index_key(backup_id, part.name, suffix))
        parent_index.remember(context, part.name, backup_id, Path(job.index), report.live_bytes, index.sha256)
        parent_index.forget_others(context, part.name, {backup_id, earlier.backup_id if earlier else ""})
    kept = (
        [pack for pack in earlier.part.packs if keys.pack_of(pack.key) in report.live_bytes]
        if earlier
        else []
    )
    done = replace(
        part,
        state=COMPLETE,
        full=earlier is None,
        index=stored,
        folders=folders,
        packs=(*kept, *new),
        files=report.kinds["file"],
        directories=report.kinds["dir"],
        links=report.kinds["symlink"] + report.kinds["hardlink"],
        bytes=report.bytes,
        skipped=report.skipped_in_all,
        excluded=report.excluded,
    )
    return done, _skipped(part.name, report)


def _begin(
    context: BackupContext, tree: str, request: TreeRequest, what: str
) -> parent_index.ParentBackup | None:
    """What to compare with. Tells why there is nothing, and about how large the tree will be."""
    last, why = parent_index.find_parent_backup(context, tree)
    if why and not request.full:
        _tell_why(context, tree, why)
    # A tree is most of the time about as large as it was.
    context.progress.begin(what, last.part.bytes if last else None, last.part.files if last else None)
    return None if request.full else last


def _skipped(tree: str, report: Report) -> list[Skipped]:
    listed = [
        Skipped(tree=tree, path=path, reason=reason, failure=failure)
        for path, reason, failure in report.skipped
    ]
    if more := report.skipped_in_all - len(listed):
        listed.append(Skipped(tree=tree, path="", reason=f"{more} more were skipped"))
    return listed


def _tell_why(context: BackupContext, tree: str, why: str) -> None:
    """Where there should be a backup to compare with and is none, that is said."""
    context.progress.note(f"{tree}: every file is read and stored again, because {why}.")
    if parent_index.full_runs(context, tree) >= parent_index.IN_A_ROW:
        context.progress.note(
            f"WARNING: {tree}: so were the last {parent_index.IN_A_ROW} backups. Does STATE_DIR"
            f" ({context.config.state_dir}) last? In a container it must be a volume."
        )


@contextmanager
def _state_files(folder: Path) -> Iterator[Path]:
    """A private folder for what is made of the tree, in the state folder of the tree, gone at the end."""
    try:
        _make_private(folder)
        for left in folder.glob(f"{NEW}*"):  # of a run that was killed: we hold the lock
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder, prefix=NEW) as fresh:
            yield Path(fresh)
    except OSError as error:
        raise FilesError(
            f"The state folder {folder} cannot be written: {error.strerror}.",
            unchanged="This tree is not in the backup.",
            hint="Make room there, or point IGNY8_BACKUP['STATE_DIR'] at a volume that lasts.",
        ) from None


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
