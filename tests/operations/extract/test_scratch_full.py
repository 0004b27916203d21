"""Extracting a tree needs scratch space for its index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from tests.services.disk import small_disk


def test_extract_with_full_scratch_names_the_cause(context: BackupContext, tmp_path: Path) -> None:
    for number in range(100):
        (context.config.sites["sites"] / f"{number:0200}").touch()
    made = run_backup(context, BackupRequest(trees=("sites",))).id
    with small_disk(tmp_path / "scratch", 16 << 10) as scratch:
        full = replace(context, config=replace(context.config, scratch_dir=scratch))
        request = ExtractRequest(backup_id=made, to_dir=tmp_path / "there", only="sites")
        plan = plan_extract(context, request)
        with pytest.raises(
            FilesError,
            match=r"The index of the tree cannot be stored in .*scratch: Could not write the index: No space"
            r" left on device\. Nothing live was changed\. Free some space there",
        ):
            run_extract(full, plan)
        assert not list(scratch.iterdir()) and not list((tmp_path / "there").iterdir())
