"""The settings, storages, schedules and stacks of the how-to pages work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.schedules import crontab
from django.test import override_settings

from igny8_backup.conf import get_config, problems
from igny8_backup.operations.guards import preconditions
from igny8_backup.tasks import backup_all
from tests.docs.pages import blocks, page

RECIPIENT = "age16asdtdmufvjl9up6lazg5r90a6vtqq6fh63j7aruw8u8e6nnwslqsnllqs"


def evaluated(source: str, **names: Any) -> dict[str, Any]:
    """Run a Python block of a page as a settings module would."""
    found: dict[str, Any] = {"os": os, "STORAGES": {}, "INSTALLED_APPS": [], **names}
    exec(compile(source, "docs", "exec"), found)
    return found


def test_containers_page_settings_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_RECIPIENTS", RECIPIENT)
    (source,) = blocks(page("how-to/containers"), "python")
    found = evaluated(source)
    assert found["INSTALLED_APPS"] == ["igny8_backup"]
    with override_settings(DEBUG=False, IGNY8_BACKUP=found["IGNY8_BACKUP"], STORAGES=found["STORAGES"]):
        assert problems() == []
        config = get_config()
        assert preconditions.storage_problems(config) == []
        assert preconditions.folder_problems(config) == []
        assert preconditions.encryption_problems(config) == []
    assert config.sites == {
        "sites-data": Path("/data/app/sites-data"),
        "uploads": Path("/data/app/igny8/sites"),
    }
    assert config.host == "igny8-1"


def test_storage_pages_define_usable_storages(tmp_path: Path) -> None:
    with override_settings(IGNY8_BACKUP={}):
        config = get_config()
    sources = [blocks(page(f"how-to/store-in-{place}"), "python")[0] for place in ("s3", "a-folder")]
    for source in sources:
        with override_settings(STORAGES=evaluated(source)["STORAGES"]):
            assert preconditions.storage_problems(config) == []


def test_celery_beat_page_schedule_runs_at_the_stated_time() -> None:
    (source,) = [
        text for text in blocks(page("how-to/schedule-with-celery-beat"), "python") if "beat_schedule" in text
    ]
    entry, *_ = evaluated(source)["CELERY_BEAT_SCHEDULE"].values()
    assert entry["task"] == backup_all.name
    assert isinstance(entry["schedule"], crontab)
    times = [getattr(entry["schedule"], name) for name in ("hour", "minute")]
    assert times == [{1}, {15}]
    assert "at 01:15" in page("how-to/schedule-with-celery-beat")
    assert entry["options"]["expires"] == 6 * 3600


def test_containers_page_stack_mounts_what_backups_and_restores_need() -> None:
    (text,) = blocks(page("how-to/containers"), "yaml")
    assert "\t" not in text
    stack = yaml.safe_load(text)
    services = stack["services"]
    trees = ["/data/app/sites-data", "/data/app/igny8/sites", "/data/app/logs"]
    mounts = {
        name: {volume.split(":")[1]: volume.split(":")[2:] for volume in service["volumes"]}
        for name, service in services.items()
    }
    for name in ("worker", "restore"):
        assert set(mounts[name]) == {*trees, "/data/backup-state", "/data/backup-scratch"}
    assert all(flags == [] for flags in mounts["restore"].values())
    assert mounts["worker"]["/data/app/sites-data"] == ["ro"]
    assert services["restore"]["profiles"]
    named = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert stack["volumes"].keys() == {name for name in named if not name.startswith("/")}
