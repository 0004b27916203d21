"""Extract a tree, or part of it, into a new folder outside all live trees."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.conf import Config
from igny8_backup.errors import FilesError, RefusedError
from igny8_backup.formats.parts.tree import TreePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.path_filter import Chosen, Pattern, choose, select, with_link_targets
from igny8_backup.operations.guards.preconditions import closed_folders
from igny8_backup.operations.read.tree_packs import TreePacks
from igny8_backup.operations.restore.unpack import extract_packs, unpackers
from igny8_backup.operations.staging.attribute_warnings import note_owners, note_skips
from igny8_backup.streams.age import Identity
from igny8_backup.streams.pipeline import from_file, write_file
from igny8_backup.streams.private_file import private_file
from igny8_backup.trees.extract.partition import Partition
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.remove import remove_tree
from igny8_backup.trees.fs.safe_dirs import MadeFolder
from igny8_backup.trees.index import index
from igny8_backup.trees.model.records import Record

_UNFINISHED = ".igny8_backup-unfinished-"
_FILES, _RECORDS = "files", "records"
"""The names of two subfolders of an unfinished folder: the new tree, and index records divided by pack."""


@dataclass(frozen=True)
class TreeCopy:
    """A folder to create, and the files of a backup to write into it.

    ``allow_set_id``: restore set-user-ID and set-group-ID bits and file capabilities.
    """

    backup_id: str
    part: TreePart
    chosen: Chosen
    folder: Path
    allow_set_id: bool = False


def require_new_folder(config: Config, folder: Path) -> None:
    """Raise ``RefusedError`` if a tree cannot be extracted into ``folder``.

    The folder must be empty or missing. It must not lie inside a live tree or inside a folder that is served
    to the public, and must not contain such a tree or folder.
    """
    real = Path(os.path.realpath(folder))  # ``Path.resolve`` raises at a loop of symlinks
    for name, closed in closed_folders(config).items():
        if real.is_relative_to(closed) or closed.is_relative_to(real):
            what = f"One of {folder} and {name} ({closed}) contains the other."
            hint = "Give a private folder outside all trees and all folders that are served."
            raise RefusedError(what, unchanged="Nothing was created.", hint=hint)
    try:
        if not (found := [path.name for path in folder.iterdir()]):
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(folder, error) from None
    unfinished = [shlex.quote(str(folder / name)) for name in found if name.startswith(_UNFINISHED)]
    if unfinished:
        raise RefusedError(
            f"{folder} is not empty: an interrupted extract_backup has left data in it, or one is running.",
            unchanged="Nothing was created.",
            hint=f"If none is running: rm -r {' '.join(unfinished)}. Or give a new folder.",
        )
    raise RefusedError(
        f"{folder} is not empty.", unchanged="Nothing was created.", hint="Give a new or an empty folder."
    )


def choose_files(
    context: BackupContext, part: TreePart, patterns: Sequence[Pattern], identities: list[Identity]
) -> Chosen:
    """Choose the files of the tree that match ``patterns``; all files if there are none.

    Reads the index of the tree (its file list), but no contents of files.
    """
    if not patterns:
        packs = TreePacks(context, part.name, part.stored_packs, identities)
        return Chosen(files=part.files, size=part.bytes, packs=frozenset(packs.names))
    with _index(context, part, identities) as records:
        chosen = choose(patterns, records())
        return with_link_targets(chosen, records()) if chosen.also else chosen


def write_tree(
    context: BackupContext, copy: TreeCopy, identities: list[Identity], on_bytes: Callable[[int], None]
) -> None:
    """Write the chosen files into the new folder ``copy.folder`` (mode 0700); check the digest of each file.

    The folder has another name until it is complete. Only packs (tar archives) that contain chosen files are
    read. ``on_bytes`` is called with the number of bytes read since its last call. Raises ``FilesError``,
    ``IntegrityError`` or ``StorageError``; the unfinished folder is then removed.
    """
    partial = copy.folder.with_name(f"{_UNFINISHED}{copy.folder.name}")
    try:
        partial.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise _unusable(partial, error) from None
    try:
        _write(context, copy, partial, identities, on_bytes)
        (partial / _FILES).rename(copy.folder)
    except OSError as error:
        raise _unusable(copy.folder, error) from None
    finally:
        remove_tree(partial)


def _write(
    context: BackupContext,
    copy: TreeCopy,
    folder: Path,
    identities: list[Identity],
    on_bytes: Callable[[int], None],
) -> None:
    """Write the chosen files into ``_FILES`` in ``folder``. Several processes share the packs."""
    left = copy.chosen.size

    def report_progress(amount: int) -> None:
        nonlocal left  # the packs may also contain other files
        on_bytes(min(amount, left))
        left -= min(amount, left)

    skip = note_skips(context.progress, copy.part.name)
    (folder / _RECORDS).mkdir(mode=0o700)
    (folder / _FILES).mkdir(mode=0o700)
    tree = MadeFolder(folder / _FILES, folder.parent, (folder / _FILES).stat().st_ino)
    packs = TreePacks(context, copy.part.name, copy.part.stored_packs, identities)
    names = [name for name in packs.names if name in copy.chosen.packs]
    # The workers start while the index is read.
    with unpackers(context, len(names), tree, folder / _RECORDS) as workers:
        with _index(context, copy.part, identities) as records:
            divided = Partition(folder / _RECORDS, names)
            divided.add_all(select(copy.chosen, records()))
        owners_left = extract_packs(
            workers,
            tree,
            packs,
            names,
            divided.folder,
            skip,
            report_progress,
            copy.allow_set_id,
        )
    with closing(TreeWriter(tree, on_skip=skip, allow_set_id=copy.allow_set_id)) as writer:
        writer.finish(divided.non_files())
        writer.flush()
    note_owners(context.progress, copy.part.name, owners_left + writer.owners_left)


@contextmanager
def _index(
    context: BackupContext, part: TreePart, identities: list[Identity]
) -> Iterator[Callable[[], Iterator[Record]]]:
    """Keep the index of the tree in an unnamed file in ``SCRATCH_DIR`` during the ``with`` block.

    Yields a function. Each call of the function returns a new iterator over all records of the index. These
    iterators share one position in the file, so only one of them can be used at a time.
    """
    stored = part.stored_index
    with private_file(context.config.scratch_dir) as (file, _):
        try:
            write_file(context.download(stored, identities), file.fileno(), name="the index")
        except FilesError as error:
            what = f"The index of the tree cannot be stored in {context.config.scratch_dir}: {error.what}"
            hint = "Free some space there, or set IGNY8_BACKUP['SCRATCH_DIR'] to a folder on a larger disk."
            raise FilesError(what, unchanged="Nothing live was changed.", hint=hint) from None

        def records() -> Iterator[Record]:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            with closing(from_file(file.fileno())) as blocks:
                yield from index.read(blocks)

        yield records


def _unusable(path: Path, error: OSError) -> FilesError:
    what = f"{path} cannot be created: {error.strerror}."
    hint = "Give --to-dir a folder that this user may create or write."
    return FilesError(what, unchanged="Nothing live was changed.", hint=hint)
