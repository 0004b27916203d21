"""The objects of a backup, decrypted, decompressed and read to the end of each archive."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import IO

from igny8_backup.databases.verify_dump import read_dump
from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.formats import keys, records
from igny8_backup.formats.details import Details
from igny8_backup.formats.manifest import SCHEMA, Manifest, StoredObject, TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read_details import join_details
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_file, write_file
from igny8_backup.trees.extract.check import check_folders, check_pack, otherwise
from igny8_backup.trees.index import index
from igny8_backup.trees.model.records import Record

Reader = Callable[[Blocks], None]
Attempt = Callable[[StoredObject, Reader], bool]
"""Reads the content of one object; whether all was well with it."""


class Lists:
    """The lists of files that a run has read, the last of each tree, as scratch files; and what to do with a
    pack of which a later list tells something else: ``forget`` that it was compared. Close it."""

    def __init__(self, forget: Callable[[StoredObject], None]) -> None:
        self._forget = forget
        self._last: dict[str, IO[bytes]] = {}

    def follow(self, folder: str, tree: TreePart, file: IO[bytes]) -> None:
        """``file`` holds the list of the tree whose packs are in ``folder``; it is closed here."""
        before = self._last.get(folder)
        if before:
            doubtful = otherwise(_records_in(file), _records_in(before))
            for item in tree.packs:
                if keys.pack_of(item.key) in doubtful:
                    self._forget(item)
            before.close()
        self._last[folder] = file

    def close(self) -> None:
        for file in self._last.values():
            file.close()
        self._last.clear()


def read_content(
    context: BackupContext, manifest: Manifest, chosen: set[str], attempt: Attempt, lists: Lists
) -> None:
    """Reads the objects whose keys are ``chosen``; the index of a tree whenever anything of the tree is, and
    ``lists`` keeps it for the next backup.

    What is wrong with an object is for ``attempt`` to take down. Raises ``FilesError`` where ``SCRATCH_DIR``
    takes no file, ``ToolMissingError``, ``ToolTooOldError``.
    """
    if manifest.details.key in chosen:
        attempt(manifest.details, partial(_read_details, backup_id=manifest.id))
    for part in manifest.databases:
        if part.object and part.object.key in chosen:
            config = context.config
            read = partial(read_dump, part=part, bin_dir=config.client_bin_dir, scratch=config.scratch_dir)
            attempt(part.object, read)
    for tree in manifest.trees:
        objects = [item for item in (tree.index, tree.folders, *tree.packs) if item]
        if any(item.key in chosen for item in objects):
            folder = keys.pack_folder(manifest.host, tree.name)
            _read_tree(context, tree, chosen, attempt, partial(lists.follow, folder, tree))


def _read_details(blocks: Blocks, backup_id: str) -> None:
    data = join_details(blocks, name="The details")
    details = records.from_json(Details, data, name="The details", schema=SCHEMA)
    if details.id != backup_id:
        raise IntegrityError(f"The details are those of backup {details.id!r}.")


def _read_tree(
    context: BackupContext,
    tree: TreePart,
    chosen: set[str],
    attempt: Attempt,
    follow: Callable[[IO[bytes]], None],
) -> None:
    with ExitStack() as stack:
        file = stack.enter_context(_scratch_file(context))

        def read_index(blocks: Blocks) -> None:
            with closing(blocks):
                write_file(blocks, file.fileno(), name=f"the index into {context.config.scratch_dir}")
            _check_index(tree, _records_in(file))

        if tree.index is None or not attempt(tree.index, read_index):
            return  # the rest can be compared with nothing
        follow(file)
        stack.pop_all()  # it stays open for the next backup
        if tree.folders and tree.folders.key in chosen:
            attempt(tree.folders, partial(check_folders, records=_records_in(file)))
        for item in tree.packs:
            if item.key in chosen:
                name = keys.pack_of(item.key)
                inside = (record for record in _records_in(file) if record.pack == name)
                attempt(item, partial(check_pack, records=inside))


def _records_in(file: IO[bytes]) -> Iterator[Record]:
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return index.read(from_file(file.fileno()))


def _check_index(tree: TreePart, found: Iterator[Record]) -> None:
    """The index is whole, names no pack that the manifest lacks, and holds as much as the manifest says."""
    packs = {keys.pack_of(item.key) for item in tree.packs}
    counts = {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0}
    for record in found:
        counts[record.kind] += 1
        if record.kind == "file" and record.pack not in packs:
            raise IntegrityError(
                f"The index needs the pack {record.pack!r}, which the manifest does not name."
            )
    links = counts["symlink"] + counts["hardlink"]
    if (counts["file"], counts["dir"], links) != (tree.files, tree.directories, tree.links):
        raise IntegrityError("The index does not hold as many files, folders and links as the manifest says.")


def _scratch_file(context: BackupContext) -> IO[bytes]:
    """A private file without a name, for the index of a tree, which is read for each pack."""
    try:
        return tempfile.TemporaryFile(dir=context.config.scratch_dir)
    except OSError as error:
        raise FilesError(
            f"No scratch file can be made in {context.config.scratch_dir}: {error.strerror}.",
            hint="Point IGNY8_BACKUP['SCRATCH_DIR'] at a folder that may be written.",
        ) from None
