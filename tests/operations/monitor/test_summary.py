"""The summary for the services in ``NOTIFY``: what it says and when it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from igny8_backup.conf import Config, get_config
from igny8_backup.errors import UsageError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.monitor.health import Condition, Health, PartCopy
from igny8_backup.operations.monitor.summary import send_summary
from igny8_backup.retention.policy import Part
from tests.docs.pages import blocks, page
from tests.services.web import WebServer, web_server

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 22, 1, 15, tzinfo=UTC)  # a Sunday
PART = Part(host="web-1", kind="files", name="uploads")
COPY = PartCopy(PART, "20261121T011500Z-7f3a9c", NOW - timedelta(days=1), 1_500_000_000, False, verified=NOW)
HEALTHY = Health(
    now=NOW,
    conditions=(Condition("storage", "a folder", True, "2 backups"), Condition("age", "x", True, "")),
    newest=(COPY,),
    backups=2,
    stored_bytes=3_000_000,
)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def config(context: BackupContext, settings: Any, web: WebServer) -> Config:
    settings.TIME_ZONE = "UTC"
    urls = [web.url.replace("http", "json")]
    settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "NOTIFY": urls, "NOTIFY_SUMMARY": "daily"}
    return get_config()


def sent(web: WebServer) -> list[tuple[str, str]]:
    found = [json.loads(body) for _, _, body in web.asked]
    return [(item["title"], item["message"]) for item in found]


def test_summary_says_what_is_there_and_is_sent_once_a_day(web: WebServer, config: Config) -> None:
    for hours in (0, 1, 22):
        assert send_summary(config, replace(HEALTHY, now=NOW + timedelta(hours=hours))) == ""
    ((title, text),) = sent(web)
    assert f"{title}\n{text}\n" in blocks(page("how-to/alert"), "text")
    bad = Condition("age", "files uploads", False, "its newest copy is 3 days old")
    failing = replace(HEALTHY, now=NOW + timedelta(days=1), conditions=(*HEALTHY.conditions, bad))
    send_summary(config, failing)
    title, text = sent(web)[1]
    assert title == "Backups on web-1: 1 condition FAILED"
    assert text.startswith("FAILED age, files uploads: its newest copy is 3 days old\n2 backups")


def test_summary_not_sent_is_tried_again(web: WebServer, config: Config) -> None:
    web.status = 500
    for count in (1, 2):
        assert "NOTIFY[0] (json)" in send_summary(config, HEALTHY)
        assert len(web.asked) == count


def test_summary_weekly_is_sent_in_a_new_week(web: WebServer, config: Config) -> None:
    weekly = replace(config, notify_summary="weekly")
    config.state_dir.mkdir(parents=True, exist_ok=True)
    (config.state_dir / "summary.json").write_text(
        json.dumps({"sent": (NOW - timedelta(days=6)).isoformat()})
    )
    send_summary(weekly, HEALTHY)
    assert not web.asked, "Monday to Sunday is one week"
    send_summary(weekly, replace(HEALTHY, now=NOW + timedelta(days=1)))
    assert len(web.asked) == 1


def test_summary_never_or_without_services_is_not_sent(web: WebServer, config: Config) -> None:
    assert send_summary(replace(config, notify_summary=""), HEALTHY) == ""
    silent = replace(config, notify=())
    assert send_summary(silent, HEALTHY) == "" and not web.asked
    with pytest.raises(UsageError, match="NOTIFY"):
        send_summary(silent, HEALTHY, now=True)
