"""``python -m igny8_backup.trees.extract.worker FD``: the extract worker, which writes files.

The worker receives packs (tars) as streams and writes the files in them. Its result is a ``Report``.
``extract.client`` starts the worker.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from igny8_backup.trees.extract.client import Job, Report
from igny8_backup.trees.extract.partition import read_records
from igny8_backup.trees.extract.writer import TreeWriter
from igny8_backup.trees.fs.safe_dirs import MadeFolder
from igny8_backup.trees.worker_protocol import Parent, run


def main(fields: dict[str, Any], parent: Parent) -> dict[str, Any]:
    """Write the files of all packs (tars) that the parent sends; return the fields of the ``Report``.

    ``fields`` are the fields of a ``Job`` (``extract.client``) as JSON values.
    """
    job = Job(**fields)
    report = Report()

    def skip(path: bytes, reason: str) -> None:
        report.skipped.append((os.fsdecode(path), reason))

    staging = MadeFolder(Path(job.staging), Path(job.above), job.inode, job.staging_fd)
    other_user = job.staging_fd >= 0
    with closing(
        TreeWriter(staging, on_skip=skip, allow_set_id=job.allow_set_id, contents_only=other_user)
    ) as writer:
        for name, blocks in parent.streams():
            path = Path(os.fsdecode(name))
            records = path if other_user else Path(job.records) / path
            writer.extract_pack(blocks, read_records(records, folder=job.records_fd))
        report.owners_left = writer.owners_left
    return vars(report)


if __name__ == "__main__":
    run(main)
