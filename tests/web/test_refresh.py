"""A web process reads the storage itself if nobody has written the status lately, and never in a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.test import Client

from igny8_backup.conf import get_config
from igny8_backup.formats.documents.status import StatusCondition
from igny8_backup.operations.backup.request import BackupRequest
from igny8_backup.operations.backup.run import run_backup
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.status.keep import keep_status, status_file
from igny8_backup.operations.status.refresh import refresh_status
from igny8_backup.web.refresh import refresh
from tests.operations.clocks import Clock, by_clock
from tests.operations.conftest import context, trees  # noqa: F401  (fixtures)
from tests.web.conftest import make_user
from tests.web.statuses import healthy
from tests.web.test_model_admin import shown

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
NOW = datetime.now(UTC)


class GatedStorage(FileSystemStorage):
    """A folder that answers while ``gate`` is set, and counts the listings of folders."""

    gate = threading.Event()
    listings = 0

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        assert self.gate.wait(60)
        type(self).listings += 1
        return super().listdir(path)


@pytest.fixture
def gate(settings: Any, context: BackupContext, tmp_path: Path) -> Iterator[threading.Event]:  # noqa: F811 - a fixture
    """A gate before a storage that has a backup. It is shut."""
    made = by_clock(context, Clock(NOW - timedelta(hours=3)))
    run_backup(made, BackupRequest(trees=("sites", "uploads")))
    own = settings.STORAGES["dbbackup"]
    backend = {**own, "BACKEND": "tests.web.test_refresh.GatedStorage"}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": backend}
    GatedStorage.gate.clear()
    GatedStorage.listings = 0
    yield GatedStorage.gate
    GatedStorage.gate.set()
    refresh.join()


@pytest.fixture
def client() -> Client:
    found = Client()
    found.force_login(make_user("ada", "view_backup"))
    return found


def wait_for(client: Client, words: str) -> str:
    deadline = time.monotonic() + 120
    while words not in (text := shown(client)):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return text


def test_page_never_waits_for_the_storage_that_its_process_reads(
    client: Client, gate: threading.Event
) -> None:
    for _ in range(3):
        assert "This web process reads the storage itself now" in shown(client)
    assert [item.name for item in threading.enumerate()].count("igny8_backup-status") == 1
    gate.set()
    text = wait_for(client, "which this web process has read itself")
    assert "files sites of web-1" in text and "All backups (1 backup)" in text
    assert not status_file(get_config()).exists(), "a web process writes nothing"
    own, GatedStorage.listings = GatedStorage.listings, 0
    with open_context(brief=True) as opened:
        refresh_status(opened)
    assert 0 < own <= GatedStorage.listings, "no more requests than those of monitor_backups"


def test_what_only_the_host_of_the_backups_knows_stays_on_the_page(
    client: Client, gate: threading.Event
) -> None:
    gone = "gone, and no valid record says that prune_backups removed them: 20200101T000000Z-000000"
    lost = StatusCondition(name="lost", of="host web-1", ok=False, text=gone)
    old = healthy(NOW)
    failed = replace(
        old,
        read=NOW - timedelta(hours=5),
        conditions=(*old.conditions, lost),
        problem="Web-1 cannot reach the bucket.",
        problem_at=NOW - timedelta(hours=1),
    )
    keep_status(get_config(), failed)
    gate.set()
    text = wait_for(client, "which this web process has read itself")
    assert gone[1:] in text and "Web-1 cannot reach the bucket." in text
    assert "Since then the storage could not be read" not in text


def test_fresh_status_is_not_read_again(client: Client, gate: threading.Event) -> None:
    assert keep_status(get_config(), healthy(NOW)) == []
    assert "Shown from the file" in shown(client)
    assert GatedStorage.listings == 0
    assert "igny8_backup-status" not in [item.name for item in threading.enumerate()]


def test_storage_that_cannot_be_read_is_reported_once(
    client: Client, gate: threading.Event, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    broken = {"BACKEND": "no.such.Storage"}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": broken}
    wait_for(client, "This web process tried to read the storage itself:")
    assert "igny8_backup-status" not in [item.name for item in threading.enumerate()]
