"""``python -m igny8_backup.trees.unpack_process FD``: writes packs out; ``unpack`` is the other side.

Its job comes through stdin (``processes.give_job``), FD is the memory that the packs (tars) come through.
Nothing that needs Django is imported, no secret is known.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from igny8_backup.errors import FilesError
from igny8_backup.streams.slots import Slots
from igny8_backup.trees.extract import TreeWriter
from igny8_backup.trees.processes import END, MESSAGE, PACK, run
from igny8_backup.trees.spool import read_spooled
from igny8_backup.trees.tar_blocks import TarBlocks
from igny8_backup.trees.unpack import Job, Report


def main(fields: dict[str, Any], slots: Slots) -> None:
    job = Job(**fields)
    report = Report()

    def skip(path: bytes, reason: str) -> None:
        report.skipped.append((os.fsdecode(path), reason))

    with TreeWriter(Path(job.side), on_skip=skip, allow_set_id=job.allow_set_id) as writer:
        while (name := _next_pack()) is not None:
            writer.extract_pack(_blocks(slots), read_spooled(Path(job.records) / name))
        report.owners_left = writer.owners_left
    try:
        Path(job.report).write_text(json.dumps(vars(report)))
    except OSError as error:
        raise FilesError(
            f"{job.report} cannot be written: {error.strerror}.",
            untouched="Nothing live was changed.",
            fix="Make room there, or point IGNY8_BACKUP['SCRATCH_DIR'] at a larger disk.",
        ) from None


def _next_pack() -> str | None:
    kind, length, _ = _heard()
    return os.fsdecode(os.read(sys.stdin.fileno(), length)) if kind == PACK else None


def _blocks(slots: Slots) -> TarBlocks:
    while True:
        kind, length, slot = _heard()
        if kind == END:
            return
        yield slots.room(slot)[:length]
        os.write(sys.stdout.fileno(), bytes((slot,)))


def _heard() -> tuple[int, int, int]:
    message = os.read(sys.stdin.fileno(), MESSAGE.size)
    if not message:
        sys.exit("The packs were not told to their end.")
    kind, one, other = MESSAGE.unpack(message)
    return kind, one, other


if __name__ == "__main__":
    run(main)
