"""``python -m igny8_backup.trees.archive.worker FD``: reads a tree; ``feed`` is the other side.

Its job comes through stdin (``processes.give_job``), FD is the memory that the packs go through; index,
folders' tar and report go into their files. Nothing that needs Django is imported: the process starts in a
tenth of a second, and it knows no secret.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from igny8_backup.errors import FilesError
from igny8_backup.streams.shared_memory import COUNT, Sender, Slots
from igny8_backup.trees.archive.client import Job, Report, pack_name
from igny8_backup.trees.archive.comparison import Comparison
from igny8_backup.trees.archive.folders import FoldersTar
from igny8_backup.trees.archive.packs import PackWriter
from igny8_backup.trees.index import index
from igny8_backup.trees.index.lines import FileLines
from igny8_backup.trees.index.parent import ParentIndex
from igny8_backup.trees.model.names import escape
from igny8_backup.trees.model.records import Record
from igny8_backup.trees.model.skips import NO_FAILURE
from igny8_backup.trees.scan.excludes import Excludes
from igny8_backup.trees.scan.scanner_process import ScanAhead
from igny8_backup.trees.tar import format as tar
from igny8_backup.trees.worker_protocol import BLOCK, END, MESSAGE, PROGRESS, run

FILES_TOLD, BYTES_TOLD = 500, 4 << 20
"""After so many files or bytes progress is told."""
MOST_SKIPPED = 10_000
"""So many skipped things are listed by path; beyond that they are counted."""


class Writer:
    """Writes index and folders' tar from the records, and counts for the report."""

    def __init__(self, index_writer: index.IndexWriter, folders: FoldersTar) -> None:
        self.report = Report()
        self._index = index_writer
        self._folders = folders

    def add(self, record: Record) -> None:
        """A folder or a link."""
        self.report.kinds[record.kind] += 1
        self._folders.add(record)
        self._index.add(record)

    def add_files(self, files: FileLines) -> None:
        self.report.kinds["file"] += len(files.lines)
        self.report.bytes += files.size
        live_bytes = self.report.live_bytes
        for pack, room in files.rooms.items():
            live_bytes[pack] = live_bytes.get(pack, len(tar.END)) + room
        self._index.add_lines(files.lines)

    def skip(self, path: bytes, reason: str) -> None:
        self.report.skipped_in_all += 1
        if self.report.skipped_in_all <= MOST_SKIPPED:
            self.report.skipped.append((escape(path), reason, reason not in NO_FAILURE))


def main(fields: dict[str, Any], slots: Slots) -> None:
    job = Job(**fields)
    sender = Sender(slots, tell=partial(_say, BLOCK), freed=_freed)
    try:
        with open(job.index, "wb") as index_file, open(job.folders, "wb") as folders_file:
            index_writer, folders = index.IndexWriter(index_file), FoldersTar(folders_file)
            writer = Writer(index_writer, folders)
            _feed(job, writer, sender)
            index_writer.finish()
            folders.finish()
        Path(job.report).write_text(json.dumps(vars(writer.report)))
    except BrokenPipeError:
        sys.exit("Nobody takes the packs any more.")
    except OSError as error:
        raise FilesError(
            f"The state folder {Path(job.index).parent.parent} cannot be written: {error.strerror}.",
            unchanged="This tree is not in the backup.",
            hint="Make room there, or point IGNY8_BACKUP['STATE_DIR'] at a volume that lasts.",
        ) from None


def _feed(job: Job, writer: Writer, sender: Sender) -> None:
    teller = _Teller()
    with _comparison(job) as compared:
        tree = PackWriter(
            Path(job.root),
            name=lambda number: pack_name(job.packs, number),
            on_record=writer.add,
            on_files=writer.add_files,
            on_unchanged=writer.add_files,
            on_skip=writer.skip,
            compared=compared,
            excluded=Excludes(job.excluded) if job.excluded else None,
            tagged=job.tagged,
            on_progress=teller.tell,
            room=sender.room,
            scan=ScanAhead,
        )
        with closing(tree.packs()) as packs:
            for _, blocks in packs:
                for block in blocks:
                    sender.sent(len(block))
                _say(END)
        teller.tell_now()
        writer.report.excluded = tree.left_out


class _Teller:
    """Tells how far the walk is: not of each file, which would take longer than to look at it."""

    def __init__(self) -> None:
        self._now = self._told = 0, 0

    def tell(self, files: int, size: int) -> None:
        self._now = files, size
        if files - self._told[0] >= FILES_TOLD or size - self._told[1] >= BYTES_TOLD:
            self.tell_now()

    def tell_now(self) -> None:
        self._told = self._now
        _say(PROGRESS, *self._now)


def _freed() -> bytes:
    return os.read(sys.stdin.fileno(), COUNT)


def _say(kind: int, one: int = 0, other: int = 0) -> None:
    os.write(sys.stdout.fileno(), MESSAGE.pack(kind, one, other))


@contextmanager
def _comparison(job: Job) -> Iterator[Comparison | None]:
    with ExitStack() as stack:
        if not job.known:
            yield None
            return
        lines = index.lines(stack.enter_context(open(job.known, "rb")))
        yield Comparison(ParentIndex(lines), job.checksum, frozenset(job.packs_to_rewrite))


if __name__ == "__main__":
    run(main)
