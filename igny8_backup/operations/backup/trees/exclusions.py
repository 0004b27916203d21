"""Report what the backup of a tree leaves out: newly excluded files, and files that restores replaced."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from igny8_backup.common.humanize import count_in_words
from igny8_backup.errors import BackupError
from igny8_backup.formats.details import NewlyExcluded, TreeDetails
from igny8_backup.operations.context import BackupContext
from igny8_backup.trees.archive.client import Job, Report
from igny8_backup.trees.model.names import escape, is_own

NAMED = 10
"""The largest number of folders that a backup names on the terminal and in logs."""


def details_of(tree: str, job: Job, report: Report) -> TreeDetails:
    """Return the entry of a tree for the details (the encrypted description) of its backup.

    ``job`` is what the archive worker was asked to do, ``report`` what the worker reported at the end.
    """
    return TreeDetails(
        name=tree,
        exclude=job.excluded,
        exclude_caches=job.exclude_caches,
        newly_excluded=tuple(
            NewlyExcluded(path=path, files=files, bytes=size, reason=reason)
            for path, files, size, reason in report.newly_excluded
        ),
        longest_name=report.facts.longest_name,
        case_clash=report.facts.case_clash,
    )


def note_newly_excluded(context: BackupContext, details: TreeDetails) -> None:
    """Note the folders with files that the last backup contains and that the settings now exclude."""
    for item in details.newly_excluded[:NAMED]:
        context.progress.note(f"WARNING: {details.name}: excluded since the last backup: {item}.")
    if more := details.newly_excluded[NAMED:]:
        files = count_in_words(sum(item.files for item in more), "file")
        context.progress.note(
            f"WARNING: {details.name}: excluded since the last backup: {files} in further folders."
            " show_backup with --identity FILE names them."
        )


def kept_in(context: BackupContext, root: Path) -> frozenset[bytes]:
    """Return the names of the folders in ``root`` in which restores keep the files that they replaced.

    The names come from the journals of this host. If these cannot be read, a note says so, and no name is
    returned.
    """
    try:
        return context.journals.kept_in(root)
    except BackupError as error:
        context.progress.note(
            f"{root}: files that earlier restores replaced may be in this backup too, because it is not known"
            f" which folders contain them. {error}"
        )
        return frozenset()


def note_lookalikes(context: BackupContext, tree: str, root: Path, own: Collection[bytes]) -> None:
    """Note each folder in ``root`` whose name looks like that of a folder with files that a restore replaced.

    Folders in ``own`` are not noted: according to the journals of this host, they really hold such files.
    """
    try:
        found = sorted(
            name for name in map(os.fsencode, os.listdir(root)) if is_own(name) and name not in own
        )
    except OSError:
        return  # the archive worker reports it
    for name in found[:NAMED]:
        context.progress.note(
            f"{tree}: {escape(name)} is named like a folder in which a restore keeps replaced files,"
            " but no journal in STATE_DIR names it, so it is backed up. Look into it: if its files are an old"
            " copy of this tree, delete it."
        )
