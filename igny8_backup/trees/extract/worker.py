"""``python -m igny8_backup.trees.extract.worker FD``: writes packs out; ``unpack`` is the other side.

Its job comes through stdin (``processes.give_job``), FD is the memory that the packs (tars) come through.
Nothing that needs Django is imported, no secret is known.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

from igny8_backup.errors import FilesError
from igny8_backup.streams.shared_memory import Slots
from igny8_backup.trees.extract.client import Job, Report
from igny8_backup.trees.extract.partition import read_spooled
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.worker_protocol import PACK, heard, received, run

_LOOK_AGAIN = 10
"""Milliseconds between two looks for records that ``spool_process`` has not written yet. They are looked for,
not told: what this process is told stands behind the blocks of the pack that wait for them."""


def main(fields: dict[str, Any], slots: Slots) -> None:
    job = Job(**fields)
    report = Report()

    def skip(path: bytes, reason: str) -> None:
        report.skipped.append((os.fsdecode(path), reason))

    with TreeWriter(Path(job.side), on_skip=skip, allow_set_id=job.allow_set_id) as writer:
        while (name := _next_pack()) is not None:
            writer.extract_pack(received(slots), read_spooled(Path(job.records) / name, wait=_wait))
        report.owners_left = writer.owners_left
    try:
        Path(job.report).write_text(json.dumps(vars(report)))
    except OSError as error:
        raise FilesError(
            f"{job.report} cannot be written: {error.strerror}.",
            unchanged="Nothing live was changed.",
            hint="Make room there, or point IGNY8_BACKUP['SCRATCH_DIR'] at a larger disk.",
        ) from None


def _wait() -> None:
    """A moment; or the end of this process when the one that feeds it is gone, which nothing else tells."""
    poll = select.poll()
    poll.register(sys.stdin, 0)  # only that it was closed there (POLLHUP in poll(2)), not that there is more
    if poll.poll(_LOOK_AGAIN):
        sys.exit("The index was not read to its end.")


def _next_pack() -> str | None:
    kind, length, _ = heard()
    return os.fsdecode(os.read(sys.stdin.fileno(), length)) if kind == PACK else None


if __name__ == "__main__":
    run(main)
