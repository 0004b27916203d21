"""The index of a tree needs scratch: where there is too little, that is said as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import Toolkit
from igny8_backup.operations.extract.plan import ElsewhereRequest, plan_elsewhere, run_elsewhere
from tests.services.disk import small_disk


def test_a_copy_of_a_tree_elsewhere(kit: Toolkit, tmp_path: Path) -> None:
    for number in range(100):
        (kit.config.sites["sites"] / f"{number:0200}").touch()
    made = run_backup(kit, BackupRequest(trees=("sites",))).id
    with small_disk(tmp_path / "scratch", 16 << 10) as scratch:
        full = replace(kit, config=replace(kit.config, scratch_dir=scratch))
        request = ElsewhereRequest(backup_id=made, to_dir=tmp_path / "there", only="sites")
        plan = plan_elsewhere(kit, request)
        with pytest.raises(
            FilesError,
            match=r"The index of the tree cannot be kept in .*scratch: Could not write it: No space left on"
            r" device\. Nothing live was changed\. Make room there",
        ):
            run_elsewhere(full, plan)
        assert not list(scratch.iterdir()) and not list((tmp_path / "there").iterdir())
