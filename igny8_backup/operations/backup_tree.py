"""One tree: packs while the walk goes on, then the folders' tar and the index (docs/format.md)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from igny8_backup import keys
from igny8_backup.errors import FilesError
from igny8_backup.manifest import COMPLETE, Skipped, StoredObject, TreePart
from igny8_backup.operations.assembly import Toolkit
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees import index
from igny8_backup.trees.names import escape
from igny8_backup.trees.packs import PackWriter, folders_tar
from igny8_backup.trees.records import Record
from igny8_backup.trees.scan import NO_FAILURE

MOST_SKIPPED = 10_000  # listed by path; beyond that they are counted


class _Tally:
    """Counts records on their way into the index file."""

    def __init__(self, writer: index.IndexWriter) -> None:
        self.kinds = {"file": 0, "dir": 0, "symlink": 0, "hardlink": 0}
        self.bytes = 0
        self._writer = writer

    def add(self, record: Record) -> None:
        self.kinds[record.kind] += 1
        if record.kind == "file":
            self.bytes += record.size
        self._writer.add(record)


def backup_tree(
    kit: Toolkit, backup_id: str, part: TreePart, root: Path, *, on_bytes: Callable[[int], None]
) -> tuple[TreePart, list[Skipped]]:
    """Backs up the tree below ``root`` as ``part``; returns the part, complete, and what was skipped.

    The index is written to ``STATE_DIR`` as the walk goes on, private, and stays there: the server cannot
    read the one that it stored (law 5). Raises ``FilesError`` for a root that is no folder, ``StorageError``.
    """
    skipped: list[Skipped] = []
    total = 0

    def skip(path: bytes, reason: str) -> None:
        nonlocal total
        total += 1
        if total <= MOST_SKIPPED:
            failure = reason not in NO_FAILURE
            skipped.append(Skipped(tree=part.name, path=escape(path), reason=reason, failure=failure))

    config, suffix = kit.config, kit.codec.suffix
    local = config.state_dir / "indexes" / f"{config.host}-{part.name}.index"
    packs: list[StoredObject] = []
    with _private_file(local) as (file, fresh):
        writer = index.IndexWriter(file)
        tally = _Tally(writer)
        tree = PackWriter(
            root,
            name=lambda number: keys.pack_name(backup_id, number),
            on_record=tally.add,
            on_skip=skip,
        )
        with closing(tree.packs()) as opened:
            for name, blocks in opened:
                key = keys.pack_key(config.host, part.name, name, suffix)
                packs.append(kit.upload(key, blocks, on_bytes=on_bytes))
        writer.finish()
        file.flush()
        os.fsync(file.fileno())
        folders = kit.upload(
            keys.folders_key(backup_id, part.name, suffix), folders_tar(index.read(from_file(fresh)))
        )
        stored = kit.upload(keys.index_key(backup_id, part.name, suffix), from_file(fresh))
        os.replace(fresh, local)
    if total > MOST_SKIPPED:
        more = total - MOST_SKIPPED
        skipped.append(Skipped(tree=part.name, path="", reason=f"{more} more were skipped"))
    done = replace(
        part,
        state=COMPLETE,
        index=stored,
        folders=folders,
        packs=tuple(packs),
        files=tally.kinds["file"],
        directories=tally.kinds["dir"],
        links=tally.kinds["symlink"] + tally.kinds["hardlink"],
        bytes=tally.bytes,
        skipped=total,
    )
    return done, skipped


@contextmanager
def _private_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A private file beside ``path``, gone at the end unless it was renamed."""
    fresh: Path | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        fresh = Path(name)
        with open(handle, "wb") as file:
            yield file, fresh
    except OSError as error:
        raise FilesError(
            f"The state folder {path.parent} cannot be written: {error.strerror}.",
            untouched="This tree is not in the backup.",
            fix="Make room there, or point IGNY8_BACKUP['STATE_DIR'] at a volume that lasts.",
        ) from None
    finally:
        if fresh:
            fresh.unlink(missing_ok=True)
