"""Extracting one file of a tree reads the pack (tar) that holds this file, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from igny8_backup.formats import keys
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from tests.operations.clocks import Clock, by_clock
from tests.operations.nights import let_time_pass

pytestmark = pytest.mark.slow


def test_extract_of_one_file_reads_only_its_pack(context: BackupContext, tmp_path: Path) -> None:
    """All other packs are gone from the storage. The file keeps its pack when its times change."""
    clock = Clock()
    context = by_clock(context, clock)
    root = context.config.sites["sites"]
    for name in ("old", "wanted", "new"):
        (root / name).write_text(f"the contents of {name}")
        (root / "a" / "page").touch()
        clock.forward(days=1)
        made = run_backup(context, BackupRequest(trees=("sites",))).id
        let_time_pass(context, "sites")
    folder = context.store.local_path()
    assert folder is not None
    packs = sorted((folder / keys.pack_folder("web-1", "sites")).glob("*.tar.*"))
    assert len(packs) == 3
    for pack in (packs[0], packs[2]):
        pack.unlink()
    request = ExtractRequest(backup_id=made, to_dir=tmp_path / "there", only="sites", paths=("wanted",))
    run_extract(context, plan_extract(context, request))
    found = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert [(path.name, path.read_text()) for path in found] == [("wanted", "the contents of wanted")]
