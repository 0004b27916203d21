"""Monitoring of copies: each problem fails its condition, and nothing else fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from igny8_backup.formats import keys
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.monitor.run import monitor
from tests.operations.clocks import Clock
from tests.operations.copies.conftest import Opened
from tests.operations.copies.test_run import copy_all
from tests.operations.signed import backed_up

pytestmark = pytest.mark.slow

COPY_CONDITIONS = ("copy", "copied", "uncopied", "intact")


def failed(context: BackupContext) -> dict[str, set[str]]:
    """The failed conditions of copies, and of what they are."""
    found: dict[str, set[str]] = {}
    for item in monitor(context).conditions:
        if item.name in COPY_CONDITIONS and not item.ok:
            found.setdefault(item.name, set()).add(item.of)
    return found


def test_copy_that_is_too_old_or_incomplete_or_gone_fails_its_conditions(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    parts = {f"files {name} of web-1 in offsite" for name in ("sites", "uploads")}
    with opened(copies={}) as context:
        backed_up(context)
        assert not any(item.name in COPY_CONDITIONS for item in monitor(context).conditions)
    clock.forward(hours=1)
    with opened() as context:
        first = backed_up(context)
        assert failed(context) == {"copy": {"offsite"}, "copied": parts}
        copy_all(context)
        assert failed(context) == {}
        names = {item.name for item in monitor(context).conditions}
        assert names.issuperset(COPY_CONDITIONS)

        clock.forward(days=2, hours=1)
        assert failed(context) == {"copied": parts}
        second = backed_up(context)
        assert failed(context) == {"copied": parts}  # it may be being copied now
        clock.forward(days=1, hours=1)
        assert failed(context) == {"copied": parts, "uncopied": {"offsite"}}
        copy_all(context)
        assert failed(context) == {}

        pack = tmp_path / "offsite/igny8" / second.trees[0].packs[0].key
        pack.rename(tmp_path / "pack")
        assert failed(context)["intact"] == {"offsite"}
        (tmp_path / "pack").rename(pack)
        (tmp_path / "offsite/igny8" / keys.manifest_key(first.id)).unlink()
        assert failed(context) == {"uncopied": {"offsite"}, "intact": {"offsite"}}
        shutil.rmtree(tmp_path / "offsite")
        assert failed(context) == {"copy": {"offsite"}}


def test_copy_is_monitored_when_the_storage_is_down(opened: Opened, clock: Clock, tmp_path: Path) -> None:
    with opened() as context:
        backed_up(context)
        copy_all(context)
        shutil.rmtree(tmp_path / "storage")
        found = {item.name: item.ok for item in monitor(context).conditions}
        assert found == {"storage": False, "copy": True, "copied": True, "intact": True}


def test_backups_that_must_not_be_copied_are_not_missing(
    opened: Opened, clock: Clock, trees: tuple[Path, Path]
) -> None:
    with opened() as context:
        backed_up(context)
        copy_all(context)
        for path in trees[1].rglob("page"):
            path.unlink()
        clock.forward(hours=1)
        backed_up(context)  # suspect: the uploads are gone
        clock.forward(days=1, hours=2)
        assert failed(context) == {}
