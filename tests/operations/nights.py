"""What happens on a host between its backups and beside them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import Any

from igny8_backup.formats import keys, records
from igny8_backup.formats.manifest import RUNNING, RunRecord
from igny8_backup.operations.backup import parent_index
from igny8_backup.operations.backup.parent_index import SCHEMA, LocalIndex
from igny8_backup.operations.context import BackupContext

TICK = 0.02
"""Seconds, more than two changes may lie apart and leave the same times: the kernel's clock for files."""


def let_time_pass(context: BackupContext, tree: str) -> None:
    """As if no file had changed shortly before the last backup of the tree read it: the next one trusts its
    times, for which it would have to lie two seconds later."""
    time.sleep(TICK)
    for index in parent_index.folder_of(context, tree).glob("*.index"):
        lines = index.read_bytes().replace(b',"racy":true', b"")
        beside = index.with_suffix(".json")
        local = records.from_json(LocalIndex, beside.read_bytes(), name=str(beside), schema=SCHEMA)
        index.write_bytes(lines)
        beside.write_bytes(records.to_json(replace(local, sha256=hashlib.sha256(lines).hexdigest())))


def running(context: BackupContext, backup_id: str, **changed: Any) -> RunRecord:
    """The record of a run of the sites that says it is under way, written."""
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
