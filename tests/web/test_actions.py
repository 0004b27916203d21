"""The buttons: who may press them, what they queue, and when they are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from igny8_backup.queues.choose import why_no_queue
from tests.services.redis import RedisServer
from tests.web.conftest import Configure, Keep, make_user, queued
from tests.web.statuses import backup_id, healthy
from tests.web.test_model_admin import PAGE

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)
ID = backup_id(0, NOW)
BUTTONS: dict[str, dict[str, str]] = {
    "back-up": {},
    "verify": {"backup": ID},
    "drill": {"backup": ID},
    "pin": {"backup": ID, "reason": "before the move"},
}
PERMISSIONS = ("run_backup", "verify_backup", "drill_backup", "pin_backup")


def press(client: Client, button: str, **changed: str) -> list[str]:
    """Press a button; return the messages on the page that follows."""
    answer = client.post(f"{PAGE}do/{button}/", {**BUTTONS[button], **changed}, follow=True)
    assert answer.status_code == 200
    return [str(message) for message in answer.context["messages"]]


@pytest.fixture
def client(keep: Keep) -> Client:
    keep(healthy(NOW))
    found = Client()
    found.force_login(make_user("ada", "view_backup", *PERMISSIONS))
    return found


@pytest.mark.slow
def test_buttons_queue_tasks_and_write_to_the_log_of_the_admin(client: Client, broker: RedisServer) -> None:
    texts = [press(client, button) for button in BUTTONS]
    assert [text[0].partition(" was queued")[0] for text in texts] == [
        "A backup of all databases and trees",
        f"The verification of backup {ID}",
        f"The drill of backup {ID}",
        f"The pin of backup {ID}",
    ]
    assert queued(broker) == [
        ("igny8_backup.backup_all", {"label": "from-the-admin"}),
        ("igny8_backup.verify_backup", {"backup_id": ID}),
        ("igny8_backup.drill_backup", {"backup_id": ID}),
        ("igny8_backup.pin_backup", {"backup_id": ID, "reason": "before the move"}),
    ]
    entries = list(LogEntry.objects.order_by("id"))
    assert [entry.user.get_username() for entry in entries] == ["ada"] * 4
    assert [entry.object_id for entry in entries] == [None, ID, ID, ID]
    assert entries[1].get_admin_url() == f"{PAGE}{ID}/"
    assert "before the move" in entries[3].change_message


def test_buttons_without_a_broker_are_refused_by_name(client: Client) -> None:
    for button in BUTTONS:
        (text,) = press(client, button)
        assert "the broker is in memory" in text and "Nothing was queued." in text
    assert "the broker is in memory" in client.get(PAGE).content.decode()
    assert "Back up now" not in client.get(PAGE).content.decode()
    assert not LogEntry.objects.exists()


def test_buttons_with_eager_tasks_are_refused_by_name(client: Client, configure: Configure) -> None:
    configure(broker_url="redis://127.0.0.1:1/0", task_always_eager=True)
    (text,) = press(client, "back-up")
    assert "CELERY_TASK_ALWAYS_EAGER is set" in text
    assert "CELERY_TASK_ALWAYS_EAGER" in why_no_queue()


def test_broker_that_is_down_is_reported_and_queues_nothing(client: Client, configure: Configure) -> None:
    configure(broker_url="redis://127.0.0.1:1/0")
    (text,) = press(client, "back-up")
    assert text.startswith("The broker cannot be reached (OperationalError). Nothing was queued.")
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("button", BUTTONS)
def test_button_needs_its_permission_and_a_post(client: Client, button: str) -> None:
    assert client.get(f"{PAGE}do/{button}/", BUTTONS[button]).status_code in (404, 405)
    own = {"back-up": "run_backup", "verify": "verify_backup", "drill": "drill_backup", "pin": "pin_backup"}[
        button
    ]
    other = Client()
    others = [name for name in PERMISSIONS if name != own]
    other.force_login(make_user("eve", "view_backup", *others))
    assert other.post(f"{PAGE}do/{button}/", BUTTONS[button]).status_code == 403
    blind = Client()
    blind.force_login(make_user("bob", own))
    assert blind.post(f"{PAGE}do/{button}/", BUTTONS[button]).status_code == 403


def test_button_without_a_csrf_token_is_refused(client: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("eve", "view_backup", "run_backup"))
    assert strict.post(f"{PAGE}do/back-up/").status_code == 403


def test_drill_button_needs_a_key_in_the_settings(
    client: Client, settings: Any, configure: Configure, tmp_path: Path
) -> None:
    configure(broker_url="redis://127.0.0.1:1/0")
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    for identity, shown in (({}, False), ({"IDENTITY_FILE": tmp_path / "on the worker only"}, True)):
        encryption = {"RECIPIENTS": [recipient], **identity}
        settings.IGNY8_BACKUP = {**settings.IGNY8_BACKUP, "ENCRYPTION": encryption}
        assert (f"{PAGE}do/drill/" in client.get(f"{PAGE}{ID}/").content.decode()) == shown
        (text,) = press(client, "drill")
        assert ("the settings name none" in text) != shown


def test_pin_without_a_reason_is_refused(client: Client) -> None:
    (text,) = press(client, "pin", reason="   ")
    assert text.startswith("A pin needs a reason")


def test_button_for_an_unknown_backup_is_not_found(client: Client) -> None:
    unknown = {"backup": "20260101T000000Z-abcdef", "reason": "x"}
    assert client.post(f"{PAGE}do/pin/", unknown).status_code == 404
    assert client.post(f"{PAGE}do/verify/").status_code == 404
    assert client.post(f"{PAGE}do/restore/").status_code == 404


def test_page_shows_viewers_no_buttons(client: Client) -> None:
    viewer = Client()
    viewer.force_login(make_user("eve", "view_backup"))
    for address in ("", f"{ID}/"):
        page = viewer.get(PAGE + address).content.decode().partition("<main")[2]
        assert "<form" not in page and "queued" not in page
