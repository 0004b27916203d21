"""Verify the contents of a backup: decrypt and decompress its objects, and read each archive to its end."""

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
from igny8_backup.trees.extract.check import check_folders, check_pack, packs_not_confirmed
from igny8_backup.trees.index import index
from igny8_backup.trees.model.records import Record

Reader = Callable[[Blocks], None]
Attempt = Callable[[StoredObject, Reader], bool]
"""A function that reads an object with a ``Reader``, and returns whether the object is undamaged. Otherwise
it records the damage."""


class TreeIndexes:
    """Scratch files with the last index (file list) that a verification read of each tree. Must be closed.

    ``on_contradiction`` is called with each pack (tar archive) that the index of a later backup describes
    differently.
    """

    def __init__(self, on_contradiction: Callable[[StoredObject], None]) -> None:
        self._on_contradiction = on_contradiction
        self._last: dict[str, IO[bytes]] = {}

    def add(self, folder: str, tree: TreePart, file: IO[bytes]) -> None:
        """Add the index in ``file`` of a ``tree`` whose packs are in ``folder``; close the file later."""
        previous = self._last.get(folder)
        if previous:
            contradicted = packs_not_confirmed(_records_in(file), _records_in(previous))
            for item in tree.packs:
                if keys.pack_of(item.key) in contradicted:
                    self._on_contradiction(item)
            previous.close()
        self._last[folder] = file

    def close(self) -> None:
        for file in self._last.values():
            file.close()
        self._last.clear()


def read_content(
    context: BackupContext, manifest: Manifest, chosen: set[str], attempt: Attempt, indexes: TreeIndexes
) -> None:
    """Read the objects of a backup whose keys are ``chosen``; ``attempt`` reads one and records damage.

    If any object of a tree is chosen, the index of the tree is also read, and added to ``indexes``. Raises
    ``FilesError`` if no file can be created in ``SCRATCH_DIR``, ``ToolMissingError``, ``ToolTooOldError``.
    """
    if manifest.details.key in chosen:
        attempt(manifest.details, partial(_read_details, backup_id=manifest.id))
    for part in manifest.databases:
        if part.object and part.object.key in chosen:
            config = context.config
            read = partial(read_dump, part=part, bin_dir=config.client_bin_dir, scratch=config.scratch_dir)
            attempt(part.object, read)
    for tree in manifest.trees:
        if any(item.key in chosen for item in tree.objects()):
            folder = keys.pack_folder(manifest.host, tree.name)
            _read_tree(context, tree, chosen, attempt, partial(indexes.add, folder, tree))


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
    add_index: Callable[[IO[bytes]], None],
) -> None:
    with ExitStack() as stack:
        file = stack.enter_context(_scratch_file(context))

        def read_index(blocks: Blocks) -> None:
            with closing(blocks):
                write_file(blocks, file.fileno(), name=f"the index into {context.config.scratch_dir}")
            _check_index(tree, _records_in(file))

        if tree.index is None or not attempt(tree.index, read_index):
            return  # without the index, the packs cannot be checked
        add_index(file)
        stack.pop_all()  # the file stays open for the next backup
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
    """Check that the manifest names all tar archives of the index, and as many files as the index.

    Raises ``IntegrityError``.
    """
    packs = {keys.pack_of(item.key) for item in tree.packs}
    counts = {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0}
    for record in found:
        counts[record.kind] += 1
        if record.kind == "file" and record.pack not in packs:
            raise IntegrityError(f"The index needs {record.pack!r}, a pack which the manifest does not name.")
    links = counts["symlink"] + counts["hardlink"]
    if (counts["file"], counts["dir"], links) != (tree.files, tree.directories, tree.links):
        raise IntegrityError("The index and the manifest differ in the numbers of files, folders and links.")


def _scratch_file(context: BackupContext) -> IO[bytes]:
    """Create an unnamed private file for the index of a tree, which is read once per tar archive."""
    try:
        return tempfile.TemporaryFile(dir=context.config.scratch_dir)
    except OSError as error:
        what = f"No scratch file can be created in {context.config.scratch_dir}: {error.strerror}."
        hint = "Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder that this user can write to."
        raise FilesError(what, unchanged="No result was recorded.", hint=hint) from None
