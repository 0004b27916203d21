"""One tree: packs while the walk goes on, then the folders' tar and the index (docs/format.md)."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from igny8_backup import keys
from igny8_backup.errors import FilesError
from igny8_backup.manifest import COMPLETE, Skipped, StoredObject, TreePart
from igny8_backup.operations import tree_state
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.streams import Blocks
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees import index
from igny8_backup.trees.folders import FoldersTar
from igny8_backup.trees.known import Known
from igny8_backup.trees.names import escape
from igny8_backup.trees.packs import Comparison, PackWriter, Unchanged
from igny8_backup.trees.records import Record
from igny8_backup.trees.scan import NO_FAILURE

MOST_SKIPPED = 10_000  # listed by path; beyond that they are counted


@dataclass(frozen=True, kw_only=True)
class TreeRequest:
    """How much of a tree is read: ``full`` reads and stores everything; ``checksum`` reads everything, and
    stores what differs from the last backup."""

    full: bool = False
    checksum: bool = False


class _Tally:
    """Writes index and folders' tar from the records, and counts."""

    def __init__(self, writer: index.IndexWriter, folders: FoldersTar) -> None:
        self.kinds = {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0}
        self.bytes = 0
        self.living: Counter[str] = Counter()  # bytes of contents needed, for each pack
        self._writer = writer
        self._folders = folders

    def add(self, record: Record) -> None:
        self.kinds[record.kind] += 1
        if record.kind == "file":
            self.bytes += record.size
            self.living[record.pack] += record.size
        else:
            self._folders.add(record)
        self._writer.add(record)

    def add_unchanged(self, found: Unchanged) -> None:
        self.kinds["file"] += 1
        self.bytes += found.entry.size
        self.living[found.pack] += found.entry.size
        self._writer.add_line(found.line)


class _Skips:
    """Lists what was skipped, up to a number; counts the rest."""

    def __init__(self, tree: str) -> None:
        self.total = 0
        self._tree = tree
        self._listed: list[Skipped] = []

    def add(self, path: bytes, reason: str) -> None:
        self.total += 1
        if self.total <= MOST_SKIPPED:
            failure = reason not in NO_FAILURE
            self._listed.append(Skipped(tree=self._tree, path=escape(path), reason=reason, failure=failure))

    def listed(self) -> list[Skipped]:
        if more := self.total - len(self._listed):
            return [*self._listed, Skipped(tree=self._tree, path="", reason=f"{more} more were skipped")]
        return self._listed


def backup_tree(
    kit: Toolkit,
    backup_id: str,
    part: TreePart,
    root: Path,
    request: TreeRequest,
    *,
    on_bytes: Callable[[int], None],
) -> tuple[TreePart, list[Skipped]]:
    """Backs up the tree below ``root`` as ``part``; returns the part, complete, and what was skipped.

    Files that the last backup of this tree knows as they are stay in its packs and are not opened. Raises
    ``FilesError`` for a root that is no folder, ``StorageError``.
    """
    config, codec, suffix = kit.config, kit.files_codec, kit.codec.suffix
    earlier = None if request.full else _earlier(kit, part.name)
    skips = _Skips(part.name)
    new: list[StoredObject] = []
    with (
        _state_files(tree_state.folder_of(kit, part.name)) as (fresh, file, others),
        _comparison(earlier, request) as compared,
    ):
        writer, folders_tar = index.IndexWriter(file), FoldersTar(others)
        tally = _Tally(writer, folders_tar)
        tree = PackWriter(
            root,
            name=lambda number: keys.pack_name(backup_id, number),
            on_record=tally.add,
            on_unchanged=tally.add_unchanged,
            on_skip=skips.add,
            compared=compared,
        )
        with closing(tree.packs()) as opened:
            for name, blocks in opened:
                key = keys.pack_key(config.host, part.name, name, suffix)
                new.append(kit.upload(key, blocks, codec=codec, on_bytes=on_bytes))
        writer.finish()
        folders_tar.finish()
        folders = kit.upload(keys.folders_key(backup_id, part.name, suffix), _contents(others), codec=codec)
        stored = kit.upload(keys.index_key(backup_id, part.name, suffix), _contents(file), codec=codec)
        os.fsync(file.fileno())
        tree_state.remember(kit, part.name, backup_id, fresh, tally.living)
        tree_state.forget_others(kit, part.name, {backup_id, earlier.backup_id if earlier else ""})
    kept = [pack for pack in earlier.part.packs if keys.pack_of(pack.key) in tally.living] if earlier else []
    done = replace(
        part,
        state=COMPLETE,
        full=earlier is None,
        index=stored,
        folders=folders,
        packs=(*kept, *new),
        files=tally.kinds["file"],
        directories=tally.kinds["dir"],
        links=tally.kinds["symlink"] + tally.kinds["hardlink"],
        bytes=tally.bytes,
        skipped=skips.total,
    )
    return done, skips.listed()


def _earlier(kit: Toolkit, tree: str) -> tree_state.Earlier | None:
    """The backup to compare with; where there should be one and is not, that is said."""
    earlier, why = tree_state.find_earlier(kit, tree)
    if why:
        kit.progress.note(f"{tree}: every file is read and stored again, because {why}.")
        if tree_state.full_runs(kit, tree) >= tree_state.IN_A_ROW:
            kit.progress.note(
                f"WARNING: {tree}: so were the last {tree_state.IN_A_ROW} backups. Does STATE_DIR"
                f" ({kit.config.state_dir}) last? In a container it must be a volume."
            )
    return earlier


@contextmanager
def _comparison(earlier: tree_state.Earlier | None, request: TreeRequest) -> Iterator[Comparison | None]:
    if earlier is None:
        yield None
        return
    with closing(index.lines(from_file(earlier.index))) as lines:
        yield Comparison(Known(lines), request.checksum, earlier.emptied)


@contextmanager
def _state_files(folder: Path) -> Iterator[tuple[Path, IO[bytes], IO[bytes]]]:
    """Two private files in the state folder of the tree: one with a name, removed at the end unless it was
    renamed, and one without."""
    fresh: Path | None = None
    try:
        _make_private(folder)
        with (
            tempfile.NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as file,
            tempfile.TemporaryFile(dir=folder) as others,
        ):
            fresh = Path(file.name)
            yield Path(file.name), file.file, others
    except OSError as error:
        raise FilesError(
            f"The state folder {folder} cannot be written: {error.strerror}.",
            untouched="This tree is not in the backup.",
            fix="Make room there, or point IGNY8_BACKUP['STATE_DIR'] at a volume that lasts.",
        ) from None
    finally:
        if fresh:
            fresh.unlink(missing_ok=True)


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _contents(file: IO[bytes]) -> Blocks:
    """All that was written into the file."""
    file.seek(0)  # flushes, too
    return from_file(file.fileno())
