"""Verify the contents of a backup: decrypt and decompress its objects, and read each archive to its end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import IO

from igny8_backup.common.filesystem import make_private
from igny8_backup.errors import FilesError, IdentityError, IntegrityError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.chunked import is_large_chunks, is_large_tar
from igny8_backup.formats.details import SCHEMA, Details
from igny8_backup.formats.manifest import Manifest
from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.details import join_details
from igny8_backup.operations.read.tree_packs import TreePacks
from igny8_backup.operations.verify.attempt import Attempt
from igny8_backup.operations.verify.dump import read_database, read_pack
from igny8_backup.streams import Blocks
from igny8_backup.streams.age import Identity
from igny8_backup.streams.pipeline import from_file, write_file
from igny8_backup.trees.extract.check import check_folders, check_pack, packs_not_confirmed
from igny8_backup.trees.extract.partition import merge_renamed, sort_renamed
from igny8_backup.trees.index import index
from igny8_backup.trees.model.records import Record


class ScratchIndex:
    """The index (file list) of a tree in scratch files: as it was stored, and its renamed files sorted.

    Close it. Raises ``FilesError`` if no file can be created in ``SCRATCH_DIR``.
    """

    def __init__(self, context: BackupContext) -> None:
        self._context = context
        self._file = _scratch_file(context)
        self._renamed: IO[bytes] | None = None  # if the index has files with other paths in their packs

    def store(self, blocks: Blocks) -> None:
        """Write ``blocks``, the stored index, to the scratch file."""
        with closing(blocks):
            write_file(blocks, self._file.fileno(), name=f"the index into {self._context.config.scratch_dir}")

    def sort(self) -> None:
        """Sort the records of renamed files, for :meth:`in_packs`. Raises ``FilesError``."""
        self._renamed = _scratch_file(self._context)
        try:
            sort_renamed((record for record in self.records() if record.member), self._renamed)
        except OSError as error:
            raise _no_scratch(self._context, error) from None

    def records(self) -> Iterator[Record]:
        """Return the records of the index, from the first one. Stop using what earlier calls returned."""
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        return index.read(from_file(self._file.fileno()))

    def in_packs(self) -> Iterator[Record]:
        """Return the records of all files, in the order of their paths in the packs (tars).

        Stop using what earlier calls, and those of :meth:`records`, returned.
        """
        files = (record for record in self.records() if record.kind == "file" and not record.member)
        return merge_renamed(files, self._renamed.fileno()) if self._renamed else files

    def close(self) -> None:
        """Close and so delete the scratch files."""
        self._file.close()
        if self._renamed:
            self._renamed.close()


class TreeIndexes:
    """Keeps the index (file list) that was last read for each tree. Must be closed.

    Each index is compared with the index that was read before for the same tree. ``on_contradiction`` is
    called with each pack (tar archive) that the two indexes describe differently.
    """

    def __init__(self, on_contradiction: Callable[[StoredObject], None]) -> None:
        self._on_contradiction = on_contradiction
        self._last: dict[str, ScratchIndex] = {}
        self._chunks: dict[StoredObject, list[StoredObject]] = {}  # of indexes of tars of large files

    def add(self, folder: str, tree: TreePart, found: ScratchIndex) -> None:
        """Add ``found``, the index of ``tree``. :meth:`close` closes it.

        ``folder`` holds the packs of the tree, so it identifies the tree in all backups.
        """
        previous = self._last.get(folder)
        self._last[folder] = found
        if previous:
            with closing(previous):
                contradicted = packs_not_confirmed(found.in_packs(), previous.in_packs())
            for item in tree.packs:
                if keys.pack_of(item.key) in contradicted:
                    self._on_contradiction(item)

    def chunks_of(self, item: StoredObject, packs: TreePacks) -> list[StoredObject]:
        """Return the packs of chunks that a tar of large files needs. ``item`` is the index of the tar.

        If the index cannot be read, the result is empty: whoever checks the tar finds out why.
        """
        if item not in self._chunks:
            self._chunks[item] = []
            with suppress(IntegrityError, IdentityError, StorageError):
                self._chunks[item] = packs.chunks_of(keys.pack_of(item.key))
        return self._chunks[item]

    def close(self) -> None:
        for found in self._last.values():
            found.close()
        self._last.clear()


def read_content(
    context: BackupContext,
    manifest: Manifest,
    identities: list[Identity],
    chosen: set[str],
    attempt: Attempt,
    indexes: TreeIndexes,
) -> None:
    """Read the objects of a backup that have a key in ``chosen``.

    Each object is read with the function ``attempt``, which decrypts it and records damage. ``identities``
    decrypt the packs of a dump that is put together from chunks. If any object of a tree is chosen, the index
    of the tree is also read, and added to ``indexes``. Raises ``FilesError`` if no file can
    be created in ``SCRATCH_DIR``; ``ToolMissingError`` or ``ToolTooOldError`` if ``pg_restore`` is missing or
    too old.
    """
    if manifest.details.key in chosen:
        attempt(manifest.details, partial(_read_details, backup_id=manifest.id))
    for part in manifest.databases:
        if any(item.key in chosen for item in part.objects()):
            read_database(context, part, identities, chosen, attempt)
    for tree in manifest.trees:
        if any(item.key in chosen for item in tree.objects()):
            folder = keys.pack_folder(manifest.host, tree.name)
            names = {keys.pack_of(key) for key in tree.pack_keys(manifest.host) if not is_large_chunks(key)}
            packs = TreePacks(context, tree.name, tree.packs, identities)
            _read_tree(context, tree, names, packs, chosen, attempt, indexes, folder)


def _read_details(blocks: Blocks, backup_id: str) -> None:
    data = join_details(blocks, name="The details")
    details = records.from_json(Details, data, name="The details", schema=SCHEMA)
    if details.id != backup_id:
        raise IntegrityError(f"The details belong to another backup, {details.id!r}.")


def _read_tree(
    context: BackupContext,
    tree: TreePart,
    names: Collection[str],
    packs: TreePacks,
    chosen: set[str],
    attempt: Attempt,
    indexes: TreeIndexes,
    folder: str,
) -> None:
    """Read the chosen objects of a tree, whose packs are in ``folder``.

    ``names`` are those of its tars, ``packs`` those that are known.
    """
    with ExitStack() as stack:
        found = stack.enter_context(closing(ScratchIndex(context)))

        def read_index(blocks: Blocks) -> None:
            found.store(blocks)
            if _check_index(tree, names, found.records()):
                found.sort()

        if tree.index is None or not attempt(tree.index, read_index):
            return  # without the index, the packs cannot be checked
        indexes.add(folder, tree, found)
        stack.pop_all()  # the files stay open for the next backup
        if tree.folders and tree.folders.key in chosen:
            attempt(tree.folders, partial(check_folders, records=found.records()))
        for item in (item for item in tree.packs if item.key in chosen):
            name = keys.pack_of(item.key)
            inside = (record for record in found.in_packs() if record.pack == name)
            if is_large_chunks(item.key):
                attempt(item, partial(read_pack, item))
            elif not is_large_tar(item.key):
                attempt(item, partial(check_pack, records=inside))
            else:
                # The packs of chunks first, so that their damage is not recorded as damage of the tar.
                sound = [attempt(pack, partial(read_pack, pack)) for pack in indexes.chunks_of(item, packs)]
                if all(sound):
                    attempt(item, partial(_check_large_tar, packs=packs, name=name, records=inside))


def _check_large_tar(index: Blocks, packs: TreePacks, name: str, records: Iterator[Record]) -> None:
    """Put a tar of large files together, and compare its files with ``records`` of the index of the tree."""
    check_pack(packs.joined(name, index), records)


def _check_index(tree: TreePart, packs: Collection[str], found: Iterator[Record]) -> bool:
    """Check that the manifest names all packs (tar archives) that the index needs.

    Also check that both have the same numbers of files, folders and links. ``packs`` are the names of the
    packs that the manifest names, ``found`` the records of the index. Returns whether any file has another
    path in its pack than in the index. Raises ``IntegrityError``.
    """
    renamed = False
    counts = {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0}
    for record in found:
        counts[record.kind] += 1
        if record.kind == "file" and record.pack not in packs:
            raise IntegrityError(f"The index needs {record.pack!r}, a pack which the manifest does not name.")
        renamed = renamed or bool(record.member)
    links = counts["symlink"] + counts["hardlink"]
    if (counts["file"], counts["dir"], links) != (tree.files, tree.directories, tree.links):
        raise IntegrityError("The index and the manifest differ in the numbers of files, folders and links.")
    return renamed


def _scratch_file(context: BackupContext) -> IO[bytes]:
    """Create an unnamed private file for the index of a tree, which is needed once for each pack."""
    try:
        make_private(context.config.scratch_dir)
        return tempfile.TemporaryFile(dir=context.config.scratch_dir)
    except OSError as error:
        raise _no_scratch(context, error) from None


def _no_scratch(context: BackupContext, error: OSError) -> FilesError:
    what = f"No scratch file can be created in {context.config.scratch_dir}: {error.strerror}."
    hint = "Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder that this user can write to."
    return FilesError(what, unchanged="No result was recorded.", hint=hint)
