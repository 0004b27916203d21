"""``python -m igny8_backup.trees.unpack_process JOB``: writes a pack out; ``unpack`` is the other side.

The job is JSON, the pack (a tar) comes on stdin. Nothing that needs Django is imported, no secret is known.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from igny8_backup.errors import FilesError, IntegrityError
from igny8_backup.streams.pipeline import from_file
from igny8_backup.trees.extract import TreeWriter
from igny8_backup.trees.feed import last_words
from igny8_backup.trees.spool import read_spooled
from igny8_backup.trees.unpack import CANNOT, WRONG, Job, Report


def main(job: Job) -> None:
    report = Report()

    def skip(path: bytes, reason: str) -> None:
        report.skipped.append((os.fsdecode(path), reason))

    with TreeWriter(Path(job.side), on_skip=skip) as writer:
        writer.extract_pack(from_file(sys.stdin.fileno()), read_spooled(Path(job.records)))
        report.owners_left = writer.owners_left
    try:
        Path(job.report).write_text(json.dumps(vars(report)))
    except OSError as error:
        raise FilesError(
            f"{job.report} cannot be written: {error.strerror}.",
            untouched="Nothing live was changed.",
            fix="Make room there, or point IGNY8_BACKUP['SCRATCH_DIR'] at a larger disk.",
        ) from None


if __name__ == "__main__":
    try:
        main(Job(**json.loads(sys.argv[1])))
    except (FilesError, IntegrityError) as failure:
        print(last_words(failure), file=sys.stderr)
        sys.exit(CANNOT if isinstance(failure, FilesError) else WRONG)
