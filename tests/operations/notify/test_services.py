"""Notifications through Apprise: real processes, and web servers on this machine that answer badly."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMessage

from igny8_backup.operations.notify import services
from igny8_backup.operations.notify.message import FAILURE, SUMMARY, Delivery, Message
from igny8_backup.operations.notify.report import Report
from igny8_backup.operations.notify.services import MAX_CHARACTERS, notify
from tests.docs.pages import blocks, page
from tests.operations.conftest import Notes
from tests.operations.notify.test_report import ADMINS, silent_server, subjects
from tests.services.web import WebServer, web_server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("context")]

TOKEN = "T0KEN-of-the-service"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def set_urls(settings: Any) -> Any:
    """A function that sets ``NOTIFY``."""

    def change(*urls: str) -> None:
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "NOTIFY": list(urls)}

    return change


def service(server: WebServer) -> str:
    return f"{server.url.replace('http://', 'json://')}/hook?+X-Token={TOKEN}"


def test_notify_sends_to_each_service_and_names_those_that_failed(web: WebServer, set_urls: Any) -> None:
    with web_server() as broken:
        broken.status = 500
        set_urls(service(web), service(broken), f"slack://{TOKEN}")
        text = "<b>the reason</b>\n" + "x" * MAX_CHARACTERS
        delivery = notify(Message(FAILURE, "backup_all failed on web-1", text))
    assert delivery.sent
    assert delivery.problem == (
        "A notification was not sent to NOTIFY[1] (json): the service could not be reached, or refused the"
        " notification, NOTIFY[2] (slack): Apprise cannot use the URL."
    )
    ((method, path, body),) = web.asked
    sent = json.loads(body)
    assert (method, path) == ("POST", "/hook")
    assert (sent["title"], sent["type"]) == ("backup_all failed on web-1", "failure")
    assert sent["message"] == "…" + "x" * MAX_CHARACTERS


def test_notify_process_does_not_show_the_urls(
    web: WebServer, set_urls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line and the environment of the process are public to other processes of the user."""
    seen: list[str] = []
    plain = subprocess.Popen.communicate

    def look(child: Any, *args: Any, **how: Any) -> Any:
        folder = Path("/proc", str(child.pid))
        while not (folder / "cmdline").read_text():  # the program is just being loaded
            time.sleep(0.001)
        seen.extend((folder / name).read_text() for name in ("cmdline", "environ"))
        return plain(child, *args, **how)

    monkeypatch.setattr(subprocess.Popen, "communicate", look)
    set_urls(service(web))
    assert notify(Message(SUMMARY, "s", "t")) == Delivery(sent=True)
    assert "apprise_process" in seen[0] and not any(TOKEN in text for text in seen)


def test_notify_server_that_drips_is_given_up_and_its_process_ended(
    set_urls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "LIMIT", 1.5)
    started: list[int] = []
    plain = subprocess.Popen.communicate

    def remember(child: Any, *args: Any, **how: Any) -> Any:
        started.append(child.pid)
        return plain(child, *args, **how)

    monkeypatch.setattr(subprocess.Popen, "communicate", remember)
    with silent_server(drip=b"H") as port:
        set_urls(f"json://127.0.0.1:{port}/{TOKEN}")
        delivery = notify(Message(FAILURE, "s", "t"))
    problem = "A notification was not sent to NOTIFY[0] (json): no complete answer within 1.5 seconds."
    assert delivery == Delivery(sent=False, problem=problem)
    with pytest.raises(ProcessLookupError):
        os.killpg(started[0], 0)


def test_report_failing_notification_is_noted_and_mailed_and_does_not_fail_the_run(
    web: WebServer, set_urls: Any, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ADMINS, web.status = ADMINS, 500
    set_urls(service(web))
    notes = Notes()
    with Report("backup_all", notes) as report:
        report.fail("The storage is full.")
    assert [f"{text}\n" for text in notes.texts] == blocks(page("how-to/alert"), "text")[1:2]
    assert subjects(mailoutbox) == ["backup_all failed on web-1", "NOTIFY failed on web-1"]
    assert not any(TOKEN in text for text in (*notes.texts, *(mail.body for mail in mailoutbox)))
    web.status = 200
    with Report("backup_all", notes) as report:
        report.fail("The storage is full.")
    with Report("backup_all", notes):
        pass
    assert len(notes.texts) == 1
    assert [json.loads(body)["type"] for _, _, body in web.asked[1:]] == ["failure", "success"]
    assert json.loads(web.asked[1][2])["message"] == "The storage is full."
    assert subjects(mailoutbox[2:]) == ["NOTIFY works again on web-1", "backup_all works again on web-1"]


def test_notify_without_apprise_says_what_to_install(
    web: WebServer, set_urls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path("tests/services/hide_modules").resolve()))
    monkeypatch.setenv("HIDDEN_MODULES", "apprise")
    set_urls(service(web))
    delivery = notify(Message(FAILURE, "s", "t"))
    assert not delivery.sent and services.INSTALL in delivery.problem and not web.asked


def test_notify_other_settings_are_wrong_sends_nevertheless(web: WebServer, settings: Any) -> None:
    settings.IGNY8_BACKUP = {"JOBS": 0, "NOTIFY": [service(web), 7]}
    assert notify(Message(FAILURE, "s", "JOBS is 0.")) == Delivery(sent=True)


def test_notify_without_services_starts_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess, "Popen")
    assert notify(Message(FAILURE, "s", "t")) == Delivery(sent=False)
    for value in (None, 7, "slack://a", {"a": "slack://a"}):
        settings.IGNY8_BACKUP = {"NOTIFY": value}
        assert notify(Message(FAILURE, "s", "t")) == Delivery(sent=False)
