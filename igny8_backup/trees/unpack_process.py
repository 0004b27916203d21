"""``python -m igny8_backup.trees.unpack_process JOB FD``: writes a pack out; ``unpack`` is the other side.

The job is JSON, FD the memory that the pack (a tar) comes through. Nothing that needs Django is imported, no
secret is known.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from igny8_backup.errors import FilesError
from igny8_backup.streams import Blocks
from igny8_backup.streams.slots import Slots
from igny8_backup.trees.extract import TreeWriter
from igny8_backup.trees.processes import END, MESSAGE, run
from igny8_backup.trees.spool import read_spooled
from igny8_backup.trees.unpack import Job, Report


def main(fields: dict[str, Any], slots: Slots) -> None:
    job = Job(**fields)
    report = Report()

    def skip(path: bytes, reason: str) -> None:
        report.skipped.append((os.fsdecode(path), reason))

    with TreeWriter(Path(job.side), on_skip=skip, allow_set_id=job.allow_set_id) as writer:
        writer.extract_pack(_blocks(slots), read_spooled(Path(job.records)))
        report.owners_left = writer.owners_left
    try:
        Path(job.report).write_text(json.dumps(vars(report)))
    except OSError as error:
        raise FilesError(
            f"{job.report} cannot be written: {error.strerror}.",
            untouched="Nothing live was changed.",
            fix="Make room there, or point IGNY8_BACKUP['SCRATCH_DIR'] at a larger disk.",
        ) from None


def _blocks(slots: Slots) -> Blocks:
    while message := os.read(sys.stdin.fileno(), MESSAGE.size):
        kind, length, slot = MESSAGE.unpack(message)
        if kind == END:
            return
        yield slots.content(slot, length)
        os.write(sys.stdout.fileno(), bytes((slot,)))
    sys.exit("The pack was not told to its end.")


if __name__ == "__main__":
    run(main)
