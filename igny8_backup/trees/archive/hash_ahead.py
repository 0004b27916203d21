"""Let hash workers compare files of a walk with the last backup, some hundred files ahead of its reader.

Entry point: ``hash_ahead``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from igny8_backup.trees.archive.hash_client import Compared, Hashers, KnownFiles, Other
from igny8_backup.trees.archive.reader import OpenedFile, line_of
from igny8_backup.trees.index.contents import KnownContents
from igny8_backup.trees.index.lines import FileLines, LinesBuilder
from igny8_backup.trees.model.entries import SIZE, Files
from igny8_backup.trees.model.records import Record

BATCH_FILES, BATCH_BYTES = 100, 8 << 20
"""A batch is sent to a hash worker as soon as it has this number of files or bytes."""

FEW_FILES, FEW_BYTES = 20, 2 << 20
"""No hash worker is started for fewer files and bytes than these: to start one takes a tenth of a second."""

BATCHES_AHEAD = 4
"""Number of batches, for each hash worker, that the walk may be ahead."""


class Single(NamedTuple):
    """File ``number`` of ``files``, which no hash worker compares: the caller must compare or store it.

    ``prefix`` is the beginning of its line in the new index (``unchanged_prefixes``), ``line`` its line in
    the index of the last backup. Without a line, its contents must be stored if the last backup has them
    under no other path. ``unknown``: the file was hashed, and the last backup has its contents under no path.
    """

    files: Files
    number: int
    prefix: bytes
    line: bytes | None
    unknown: bool = False


class SameSize(NamedTuple):
    """Files whose contents may be the same as those of a file of the same size in the last backup.

    ``prefixes`` are the beginnings of their lines in the new index, ``lines`` their lines in the index of the
    last backup. A line is empty if only a file with another path may have the contents.
    """

    files: Files
    prefixes: list[bytes]
    lines: list[bytes]


Item: TypeAlias = Record | FileLines | Single | SameSize
"""A folder or link, files that packs of earlier backups hold, or files that must be compared."""


@dataclass(slots=True)
class _Batch:
    """Files that are hashed together. ``future`` is set once they are sent to a worker."""

    known: list[KnownFiles] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    closed: bool = False
    future: Future[list[Compared]] | None = None


class _Part(NamedTuple):
    """The files of a ``SameSize``: the item at ``position`` in ``batch``."""

    same_size: SameSize
    batch: _Batch
    position: int


def hash_ahead(
    items: Generator[Item, None, None],
    hashers: Hashers,
    contents: KnownContents | None,
    on_progress: Callable[[], object],
) -> Generator[Item, None, None]:
    """Yield ``items`` in order, with the results of ``hashers`` in place of each ``SameSize``.

    A file whose contents are the same, or are in ``contents`` under another path, is yielded as a line of the
    new index (``FileLines``), any other as a ``Single``. If there are only a few files to hash, all are
    yielded as ``Single``. ``on_progress`` is called from time to time while large files are hashed. Raises
    the errors of ``Hashers.submit``, of its result and of ``contents.find``.
    """
    waiting: deque[Item | _Part] = deque()
    limit = hashers.limit * BATCHES_AHEAD * BATCH_FILES
    files = 0  # number of files and other entries that are waiting
    batch = _Batch()
    with closing(items):
        for item in items:
            if isinstance(item, SameSize):
                if batch.closed:
                    batch = _Batch()
                waiting.append(_add(batch, item))
                if batch.files >= BATCH_FILES or batch.bytes >= BATCH_BYTES:
                    _close(batch, hashers)
            elif waiting:
                waiting.append(item)
            else:
                yield item
                continue
            files += _count(waiting[-1])
            while files > limit:
                first = waiting.popleft()
                files -= _count(first)
                yield from _finished(first, hashers, contents, on_progress)
        while waiting:
            yield from _finished(waiting.popleft(), hashers, contents, on_progress)


def _add(batch: _Batch, item: SameSize) -> _Part:
    files = item.files
    batch.known.append(
        KnownFiles(files.prefix, files.folders, files.names, files.rows, item.prefixes, item.lines)
    )
    batch.files += len(files.rows)
    batch.bytes += sum(row[SIZE] for row in files.rows)
    return _Part(item, batch, len(batch.known) - 1)


def _close(batch: _Batch, hashers: Hashers) -> None:
    """Add no more files to the batch, and let a worker hash it if that is worthwhile."""
    batch.closed = True
    if hashers.started or batch.files >= FEW_FILES or batch.bytes >= FEW_BYTES:
        batch.future = hashers.submit(batch.known)
    batch.known = []


def _count(item: Item | _Part) -> int:
    if isinstance(item, _Part):
        return len(item.same_size.lines)
    return len(item.lines) if isinstance(item, FileLines) else 1


def _finished(
    item: Item | _Part, hashers: Hashers, contents: KnownContents | None, on_progress: Callable[[], object]
) -> Iterator[Item]:
    if not isinstance(item, _Part):
        yield item
        return
    (files, prefixes, lines), batch, position = item
    if not batch.closed:
        _close(batch, hashers)
    if batch.future is None:
        for number, line in enumerate(lines):
            yield Single(files, number, prefixes[number], line or None)
        return
    renamed = LinesBuilder()
    for found in hashers.wait(batch.future, on_progress)[position]:
        if isinstance(found, Other) and (other := _line_of_renamed(item.same_size, found, contents)):
            renamed.add(*other)
            continue
        if renamed:
            yield renamed.take()
        if isinstance(found, FileLines):
            yield found
        else:
            number, store, hashed = found
            old = None if store else lines[number] or None
            yield Single(files, number, prefixes[number], old, unknown=hashed is not None)
    if renamed:
        yield renamed.take()


def _line_of_renamed(
    same_size: SameSize, found: Other, contents: KnownContents | None
) -> tuple[bytes, str, bytes, int] | None:
    """Return the arguments of ``LinesBuilder.add`` for a file whose contents are known under another path.

    These are its line, pack (tar), path and size. Returns None if the contents are not known.
    """
    if contents is None or found.hashed is None:
        return None
    (files, prefixes, _), number, (sha256, xattrs, racy) = same_size, found.number, found.hashed
    size = files.rows[number][SIZE]
    if (stored := contents.find(size, sha256)) is None:
        return None
    path, prefix = files.path(number), prefixes[number]
    file = OpenedFile(files, number, path, size, -1, prefix, None, xattrs=xattrs, sha256=sha256, racy=racy)
    return line_of(file, stored), stored.pack, path, size
