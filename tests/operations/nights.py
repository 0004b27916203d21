"""Helpers: what happens on a host between backups, and during them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import Any

from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.run_record import RunRecord
from igny8_backup.formats.manifest import RUNNING
from igny8_backup.operations.backup.trees import local_index
from igny8_backup.operations.backup.trees.local_index import SCHEMA, LocalIndex
from igny8_backup.operations.context import BackupContext

TICK = 0.02
"""Seconds: more than the resolution of the kernel's clock for file times."""


def let_time_pass(context: BackupContext, tree: str) -> None:
    """Make the next backup trust the file times that the last one recorded.

    Otherwise a file that changed within two seconds of its backup is read again.
    """
    time.sleep(TICK)
    for index in local_index.index_folder(context, tree).glob("*.index"):
        lines = index.read_bytes().replace(b',"racy":true', b"")
        sidecar = index.with_suffix(".json")
        local = records.from_json(LocalIndex, sidecar.read_bytes(), name=str(sidecar), schema=SCHEMA)
        index.write_bytes(lines)
        sidecar.write_bytes(records.to_json(replace(local, sha256=hashlib.sha256(lines).hexdigest())))


def running(context: BackupContext, backup_id: str, **changed: Any) -> RunRecord:
    """Write and return the record of a backup of the sites that is under way."""
    record = RunRecord(
        schema=1,
        id=backup_id,
        host="web-1",
        environment="test",
        label="",
        requested=("sites",),
        started=keys.id_time(backup_id),
        heartbeat=context.clock(),
        outcome=RUNNING,
    )
    record = replace(record, **changed)
    context.store.put_small(keys.run_key(backup_id), records.to_json(record))
    return record
