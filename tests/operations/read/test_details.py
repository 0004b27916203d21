"""Reading the details of a backup, which anybody who can write to the storage may have forged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igny8_backup.errors import IntegrityError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.read.details import DETAILS_LIMIT, read_details
from igny8_backup.streams import BLOCK, Blocks


def test_read_details_oversized_are_refused(context: BackupContext) -> None:
    manifest = run_backup(context, BackupRequest(trees=("uploads",))).manifest
    assert manifest and read_details(context, manifest, []).id == manifest.id
    sent = 0

    def zeros() -> Blocks:
        nonlocal sent
        for _ in range(4 * DETAILS_LIMIT // BLOCK):
            sent += BLOCK
            yield bytes(BLOCK)

    made = context.upload(manifest.details.key.replace("details", "bomb")).send(zeros())
    assert made.stored_bytes < BLOCK < sent
    with pytest.raises(IntegrityError, match="are larger than"):
        read_details(context, replace(manifest, details=made), [])
