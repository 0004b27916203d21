"""Copies of backups whose large files are in chunks: partial copies, and damage that a copy heals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.chunks import cutter
from igny8_backup.formats import keys
from igny8_backup.operations.copies.heal import heal
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.clocks import Clock
from tests.operations.copies.conftest import Opened
from tests.operations.copies.test_heal import alter, is_sound
from tests.operations.copies.test_parts import SITES
from tests.operations.copies.test_run import copy_all, objects
from tests.operations.signed import backed_up

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not cutter.compiled_version(), reason="pyfastcdc is not installed"),
]


@pytest.fixture
def large(trees: tuple[Path, Path], context: object, settings: Any) -> Path:
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "CHUNKED_TREES": ["sites", "uploads"]}
    for tree in trees:
        (tree / "large").write_bytes(os.urandom(9 << 20))
    return trees[0] / "large"


def test_copied_large_files_are_complete_and_heal_the_original(
    opened: Opened, clock: Clock, tmp_path: Path, large: Path
) -> None:
    with opened(copies=SITES) as context:
        backed_up(context)
        clock.forward(days=1)
        with large.open("ab") as file:
            file.write(b"more" * 1000)
        made = backed_up(context)
        sites, uploads = made.trees
        assert len(copy_all(context).copied) == 2
        stored = objects(tmp_path / "offsite").keys()
        assert {pack.key for pack in sites.packs} < stored
        assert not {pack.key for pack in uploads.packs} & stored
        harmed = {
            parsed.kind: pack.key
            for pack in sites.packs
            if (parsed := keys.parse(pack.key)) and parsed.kind != "pack"
        }
        assert harmed.keys() == {"tree_runs", "tree_chunk"}
        for key in harmed.values():
            alter(tmp_path / "storage", key)
        clock.forward(hours=1)
        assert verify(context, VerifyRequest(backup_id=made.id)).findings
    with opened(copies=SITES, healing=True) as context:
        run_extract(context, plan_extract(context, ExtractRequest(only="sites", to_dir=tmp_path / "spare")))
    assert (tmp_path / "spare/sites/large").read_bytes() == large.read_bytes()
    with opened(copies=SITES) as context:
        assert set(heal(context).healed) == {*harmed.values()}
        clock.forward(hours=1)
        assert is_sound(context)
        assert not verify(context, VerifyRequest(backup_id=made.id, depth="content")).failure
    with opened("offsite", copies=SITES, changing=True) as copy:
        assert not verify(copy, VerifyRequest(backup_id=made.id, depth="content")).failure
        run_extract(copy, plan_extract(copy, ExtractRequest(only="sites", to_dir=tmp_path / "copy")))
    assert (tmp_path / "copy/sites/large").read_bytes() == large.read_bytes()
