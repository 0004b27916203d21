"""``python -m igny8_backup.trees.archive.worker FD``: the archive worker, which reads a tree.

The worker sends each pack as a stream of blocks. It writes two files: the index, and the tar of folders and
links. Its result is a ``Report``. ``archive.client`` starts the worker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from igny8_backup.errors import FilesError, IntegrityError, ToolError
from igny8_backup.trees.archive import hash_client
from igny8_backup.trees.archive.client import Job, Report
from igny8_backup.trees.archive.comparison import Comparison
from igny8_backup.trees.archive.events import EntryArchived, Event, FilesArchived, Skipped
from igny8_backup.trees.archive.folders import FoldersTar
from igny8_backup.trees.archive.hash_client import Hashers
from igny8_backup.trees.archive.large_tar import LargeTars
from igny8_backup.trees.archive.newly_excluded import NewlyExcluded
from igny8_backup.trees.archive.packs import PackWriter
from igny8_backup.trees.index import index
from igny8_backup.trees.index.contents import KnownContents
from igny8_backup.trees.index.parent import ParentIndex
from igny8_backup.trees.model.names import escape, unescape
from igny8_backup.trees.model.skips import NO_FAILURE
from igny8_backup.trees.scan.excludes import Excludes
from igny8_backup.trees.scan.scan_ahead import ScanAhead, start_scanner
from igny8_backup.trees.tar import format as tar
from igny8_backup.trees.worker_protocol import ASIDE, END, LAST, PROGRESS, Message, Parent, Worker, run

PROGRESS_FILES, PROGRESS_BYTES = 500, 4 << 20
"""Progress is sent whenever this number of files or bytes has been added."""

MAX_SKIPPED = 10_000
"""Largest number of skipped paths that the worker lists in its report. Further ones are only counted."""


class EventWriter:
    """Handles the events of a walk: writes the index, and the tar of folders and links; sends progress."""

    def __init__(self, index_writer: index.IndexWriter, folders: FoldersTar, parent: Parent) -> None:
        self.report = Report()
        self._index = index_writer
        self._folders = folders
        self._parent = parent
        self._now = self._sent = 0, 0  # files and bytes

    def __call__(self, event: Event) -> None:
        if isinstance(event, FilesArchived):
            self._add_files(event)
        elif isinstance(event, EntryArchived):
            self.report.kinds[event.record.kind] += 1
            self._folders.add(event.record)
            self._index.add(event.record)
        elif isinstance(event, Skipped):
            self._add_skipped(event)
        else:
            going_on = self._now == (event.files, event.bytes)  # while a large file is compared
            self._now = event.files, event.bytes
            if (
                going_on
                or event.files - self._sent[0] >= PROGRESS_FILES
                or event.bytes - self._sent[1] >= PROGRESS_BYTES
            ):
                self._send_progress()

    def finish(self) -> None:
        """Complete the index and the tar of folders and links, and send the final progress."""
        self._index.finish()
        self._folders.finish()
        self._send_progress()

    def _add_files(self, event: FilesArchived) -> None:
        files = event.files
        self.report.kinds["file"] += len(files.lines)
        self.report.bytes += files.size
        live_bytes = self.report.live_bytes
        for pack, packed_size in files.packed_sizes.items():
            live_bytes[pack] = live_bytes.get(pack, len(tar.END)) + packed_size
        self._index.add_lines(files.lines)

    def _add_skipped(self, event: Skipped) -> None:
        self.report.skipped_total += 1
        if self.report.skipped_total <= MAX_SKIPPED:
            self.report.skipped.append((escape(event.path), event.reason, event.reason not in NO_FAILURE))

    def _send_progress(self) -> None:
        self._sent = self._now
        self._parent.send(Message(PROGRESS, *self._now))


def main(fields: dict[str, Any], parent: Parent, scanner: Worker | None) -> dict[str, Any]:
    """Read the tree that ``fields``, the fields of a ``Job``, describe; return the fields of the ``Report``.

    ``scanner`` is a running scanner process, which walks the tree. If it is None, one is started.
    """
    job = Job(**fields)
    try:
        with open(job.index, "wb") as index_file, open(job.folders, "wb") as folders_file:
            writer = EventWriter(index.IndexWriter(index_file), FoldersTar(folders_file), parent)
            _send_packs(job, writer, parent, scanner)
            writer.finish()
    except BrokenPipeError:
        sys.exit("The parent process has ended.")
    except OSError as error:
        raise FilesError(
            f"The state folder {Path(job.index).parent.parent} cannot be written: {error.strerror}.",
            unchanged="This tree is not in the backup.",
            hint="Free some space there, or move IGNY8_BACKUP['STATE_DIR'] to a persistent volume.",
        ) from None
    except IntegrityError as error:  # nothing else that this worker reads can raise it
        raise IntegrityError(
            f"The local index {job.parent_index} of the last backup is damaged: {error.what}",
            unchanged="This tree is not in the backup.",
            hint="Run the backup again: the next backup ignores a damaged index and reads every file.",
        ) from None
    return asdict(writer.report)


def _send_packs(job: Job, writer: EventWriter, parent: Parent, scanner: Worker | None) -> None:
    """Send all packs (tars) to the parent process; complete the report of ``writer``."""
    excluded = Excludes(job.excluded) if job.excluded else None
    newly_excluded = NewlyExcluded(job.root, excluded, exclude_caches=job.exclude_caches)
    large = LargeTars(
        job.backup_id,
        send=partial(parent.sender.send_aside, announce=lambda *block: parent.send(Message(ASIDE, *block))),
        end=lambda: parent.send(Message(LAST)),
    )
    with _comparison(job, newly_excluded) as compared:
        tree = PackWriter(
            Path(job.root),
            backup_id=job.backup_id,
            emit=writer,
            compared=compared,
            large=large if job.large_in_chunks else None,
            excluded=excluded,
            exclude_caches=job.exclude_caches,
            own=frozenset(map(unescape, job.own)),
            block_buffer=parent.sender.free_slot,
            scan=partial(ScanAhead, worker=scanner),
        )
        with closing(tree.packs()) as packs:
            for _, blocks in packs:
                for block in blocks:
                    parent.sender.send_slot(len(block))
                parent.send(Message(END))
        writer.report.facts = tree.facts
    writer.report.newly_excluded = newly_excluded.folders()


@contextmanager
def _comparison(job: Job, newly_excluded: NewlyExcluded) -> Iterator[Comparison | None]:
    if not job.parent_index:
        yield None
        return
    hashing = hash_client.Job(root=job.root, packs_to_rewrite=job.packs_to_rewrite)
    with open(job.parent_index, "rb") as file, Hashers(hashing) as hashers:
        parent = ParentIndex(index.lines(file), newly_excluded)
        rewritten = frozenset(job.packs_to_rewrite)
        contents = None if job.full else KnownContents(file.fileno(), rewritten)
        yield Comparison(parent, job.checksum, rewritten, job.full, hashers, contents)


if __name__ == "__main__":
    with ExitStack() as _stack:
        _scanner = None
        with suppress(ToolError):  # it is started again, and then the error is reported
            _scanner = _stack.enter_context(
                start_scanner()
            )  # before there is a job, because it takes a while
        run(partial(main, scanner=_scanner))
