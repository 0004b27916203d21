"""Reports of unattended runs: pings, mails and the signal, never with a secret."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.mail import EmailMessage

from igny8_backup.errors import StorageError, UsageError
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.notify.alarms import FORGET_AFTER, Alarm
from igny8_backup.operations.notify.outcome import MAIL, REPEAT_AFTER, announce
from igny8_backup.operations.notify.ping import MAX_BYTES
from igny8_backup.operations.notify.redact import HIDDEN, redacted
from igny8_backup.operations.notify.report import TAIL, Report
from igny8_backup.signals import reported
from tests.operations.conftest import Notes
from tests.services.web import WebServer, web_server

SECRET = "AGE-SECRET-KEY-1" + "Q" * 58
# Django 5.2 takes pairs only, a later one warns of them.
ADMINS: list[Any] = ["ada@example.org"] if django.VERSION >= (6,) else [("Ada", "ada@example.org")]
NOW = datetime(2026, 11, 22, 1, 15, tzinfo=UTC)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def notes(context: BackupContext) -> Notes:
    """The notes of a run with the settings of ``context``."""
    return Notes()


def test_report_success_pings_start_and_end(web: WebServer, notes: Notes) -> None:
    with Report("backup_all", notes, url=f"{web.url}/ping/uuid?rid=7"):
        assert web.asked == [("GET", "/ping/uuid/start?rid=7", "")]
    assert web.asked[1:] == [("GET", "/ping/uuid?rid=7", "")]
    assert notes.texts == []


def test_report_failure_sends_the_last_notes(web: WebServer, notes: Notes) -> None:
    with pytest.raises(StorageError), Report("backup_all", notes, url=f"{web.url}/uuid/") as report:
        for number in range(TAIL):
            report.note(f"note {number} {'x' * 300}")
        raise StorageError("The storage is full.", hint="Free some space.")
    method, path, body = web.asked[1]
    assert (method, path) == ("POST", "/uuid/fail")
    assert body.endswith("\nThe storage is full. Free some space.") and "note 49" in body
    assert "note 0 " not in body and len(body) <= MAX_BYTES


def test_report_failed_then_raised_is_reported_once(web: WebServer, notes: Notes) -> None:
    with pytest.raises(StorageError), Report("x", notes, url=web.url) as report:
        report.fail("uploads FAILED: gone", "more")
        raise StorageError("the same in other words")
    assert web.asked[1] == ("POST", "/fail", "uploads FAILED: gone\nmore")


def test_report_silenced_sends_nothing(
    web: WebServer, notes: Notes, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ADMINS = ADMINS
    with pytest.raises(KeyError), Report("x", notes, url=web.url) as report:
        report.suppress()
        raise KeyError
    assert web.paths == ["/start"] and not mailoutbox


@pytest.mark.parametrize(
    "url", ["hc-ping.com/uuid", "ftp://example.org", "http://", "file:///etc/passwd", "http://[x"]
)
def test_report_invalid_url_is_refused_first(notes: Notes, url: str) -> None:
    with pytest.raises(UsageError, match="http"), Report("x", notes, url=url):
        pytest.fail("the work started")


def test_report_ping_rejected_is_noted(web: WebServer, notes: Notes) -> None:
    web.status = 500
    with Report("x", notes, url=f"{web.url}/uuid"):
        pass
    assert notes.texts == ["The ping to 127.0.0.1 failed: HTTP status 500."] * 2


def test_report_ping_unreachable_is_noted(notes: Notes) -> None:
    with web_server() as gone:
        url = f"{gone.url}/uuid"
    with Report("x", notes, url=url):
        pass
    assert len(notes.texts) == 2
    assert all("127.0.0.1 failed: " in text and "refused" in text for text in notes.texts)
    assert not any("uuid" in text for text in notes.texts)


@contextmanager
def silent_server(*, drip: bytes = b"") -> Iterator[int]:
    """Run a server that accepts connections and sends ``drip`` for ever, or nothing; yield its port.

    It ends every connection after a while, so that a client without a limit fails the test and ends.
    """
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for _ in range(100):
                if done.wait(0.05):
                    break
                connection.sendall(drip)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("drip", [b"", b"H"])
def test_report_ping_server_never_done_is_noted(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    monkeypatch.setattr("igny8_backup.operations.notify.ping.LIMIT", 0.3)
    with silent_server(drip=drip) as port, Report("x", notes, url=f"http://127.0.0.1:{port}/uuid"):
        pass
    assert notes.texts == ["The ping to 127.0.0.1 failed: no complete answer within 0.3 seconds."] * 2


@pytest.mark.parametrize("drip", [b"", b"2"])
def test_report_mail_server_never_done_is_noted(
    notes: Notes, settings: Any, monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    monkeypatch.setattr("igny8_backup.operations.notify.mail.LIMIT", 0.3)
    settings.ADMINS = ADMINS
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with silent_server(drip=drip) as port:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
        with Report("x", notes) as report:
            report.fail("It did not work.")
    (text,) = notes.texts
    assert text == "No mail could be sent to ADMINS: TimeoutError: no complete answer within 0.3 seconds."


def test_report_secrets_are_removed(
    web: WebServer, notes: Notes, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ADMINS = ADMINS
    settings.DATABASES["default"]["PASSWORD"] = "correct horse"
    texts: list[str] = []

    def receive(text: str, **kwargs: Any) -> None:
        texts.append(text)

    reported.connect(receive)
    try:
        with Report("x", notes, url=web.url) as report:
            report.fail(f"the driver said: correct horse, and {SECRET}")
    finally:
        reported.disconnect(receive)
        settings.DATABASES["default"].pop("PASSWORD")
    (mail,) = mailoutbox
    for text in (web.asked[1][2], mail.body, *texts):
        assert text == f"the driver said: {HIDDEN}, and {HIDDEN}"


def test_redacted_removes_secrets_only(settings: Any) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "dbbackup": {"BACKEND": "a.b", "OPTIONS": {"secret_key": "s3cr3t", "bucket_name": "bucket"}},
    }
    settings.AUTH_USER_MODEL = "auth.User"
    settings.EMAIL_HOST_PASSWORD = "mail-word"
    text = f"auth.User s3cr3t bucket mail-word {settings.SECRET_KEY} redis://me:pw@host/0 {SECRET.lower()} x"
    assert redacted(text) == (
        f"auth.User {HIDDEN} bucket {HIDDEN} {HIDDEN} redis://me:{HIDDEN}@host/0 {HIDDEN} x"
    )
    assert redacted("dbname=a password='x y' sslmode=b") == f"dbname=a password={HIDDEN} sslmode=b"


def mail_outcome(
    what: str, alarms: list[Alarm], text: str, now: datetime, *, scope: list[str] | None = None
) -> str:
    return announce(MAIL, what, alarms, text, now, scope=scope).problem


def failed(reason: str, *parts: str) -> list[Alarm]:
    return [Alarm(part, reason) for part in parts or ("",)]


def subjects(mailoutbox: list[EmailMessage]) -> list[str]:
    return [mail.subject.partition("] ")[2] for mail in mailoutbox]


def test_mail_failure_and_recovery_are_sent_once(
    context: BackupContext, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ADMINS = ADMINS
    hours = timedelta(hours=1)
    assert mail_outcome("backup_all", [], "", NOW) == ""
    assert mail_outcome("backup_all", failed("StorageError"), "It is full.", NOW) == ""
    mail_outcome("backup_all", failed("StorageError"), "It is full, an hour later.", NOW + hours)
    mail_outcome("backup_all", failed("DatabaseError"), "Now something else.", NOW + 2 * hours)
    mail_outcome("backup_all", failed("DatabaseError"), "Still.", NOW + 2 * hours + REPEAT_AFTER)
    mail_outcome("prune_backups", failed("DatabaseError"), "Another command.", NOW)
    assert subjects(mailoutbox) == [*["backup_all failed on web-1"] * 3, "prune_backups failed on web-1"]
    assert [mail.body for mail in mailoutbox[:3]] == ["It is full.", "Now something else.", "Still."]
    (file,) = context.config.state_dir.glob("failing/backup_all.*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "full" not in file.read_text()
    for _ in range(2):
        assert mail_outcome("backup_all", [], "", NOW + 40 * hours) == ""
    assert subjects(mailoutbox[4:]) == ["backup_all works again on web-1"]
    assert "2026-11-22T23:15:00+00:00" in mailoutbox[4].body and not file.exists()


@pytest.mark.usefixtures("context")
def test_mail_failure_of_another_part_is_sent(settings: Any, mailoutbox: list[EmailMessage]) -> None:
    settings.ADMINS = ADMINS
    mail_outcome("backup_sites", failed("incomplete", "a"), "a", NOW, scope=["a", "b"])
    mail_outcome("backup_sites", failed("incomplete", "a"), "a again", NOW, scope=["a", "b"])
    mail_outcome("backup_sites", failed("incomplete", "a", "b"), "a and b", NOW, scope=["a", "b"])
    assert [mail.body for mail in mailoutbox] == ["a", "a and b"]
    mail_outcome("backup_sites", failed("incomplete", "b"), "b", NOW, scope=["a", "b"])
    mail_outcome("backup_sites", [], "", NOW, scope=["a", "b"])
    assert [mail.body.partition(". ")[0] for mail in mailoutbox[2:]] == [
        "backup_sites works again for a",
        "backup_sites works again for b",
    ]


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.usefixtures("context")
def test_mail_alternate_runs_of_one_command_are_told_apart(
    notes: Notes, settings: Any, mailoutbox: list[EmailMessage], raised: bool
) -> None:
    settings.ADMINS = ADMINS
    for _ in range(3):
        with suppress(StorageError), Report("backup_sites", notes) as report:
            report.cover("a")
            if raised:
                raise StorageError("It is gone.")
            report.fail("a is incomplete.")
        with Report("backup_sites", notes) as report:
            report.cover("b")
    assert subjects(mailoutbox) == ["backup_sites failed on web-1"]
    with Report("backup_sites", notes) as report:
        report.cover("a", "b")
    assert subjects(mailoutbox[1:]) == ["backup_sites works again on web-1"]


@pytest.mark.usefixtures("context")
def test_mail_alternating_reasons_are_sent_once_each(settings: Any, mailoutbox: list[EmailMessage]) -> None:
    settings.ADMINS = ADMINS
    for _ in range(3):
        mail_outcome("x", failed("StorageError", "a"), "storage", NOW)
        mail_outcome("x", failed("DatabaseError", "a"), "database", NOW)
    assert [mail.body for mail in mailoutbox] == ["storage", "database"]


def test_mail_memory_of_a_part_that_is_gone_expires(
    context: BackupContext, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ADMINS = ADMINS
    mail_outcome("x", failed("incomplete", "gone"), "", NOW)
    mail_outcome("x", failed("incomplete", "a"), "", NOW + FORGET_AFTER, scope=["a"])
    assert "gone" not in (context.config.state_dir / "failing/x.json").read_text()


def test_mail_memory_of_the_previous_version_is_read(
    context: BackupContext, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ADMINS = ADMINS
    file = context.config.state_dir / "failing/x.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"sign": "StorageError", "told": NOW.isoformat()}))
    mail_outcome("x", failed("StorageError"), "", NOW)
    assert not mailoutbox
    mail_outcome("x", [], "", NOW)
    assert subjects(mailoutbox) == ["x works again on web-1"]


@pytest.mark.parametrize("content", ["", "[]", '{"sign": 1}', '{"alarms": [{"part": "", "told": "x"}]}'])
def test_mail_failure_unreadable_memory_mails_again(
    context: BackupContext, settings: Any, mailoutbox: list[EmailMessage], content: str
) -> None:
    settings.ADMINS = ADMINS
    file = context.config.state_dir / "failing/x.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    mail_outcome("x", [], "", NOW)
    mail_outcome("x", failed(""), "", NOW)
    assert len(mailoutbox) == 1 and json.loads(file.read_text())["alarms"][0]["told"]


@pytest.mark.usefixtures("context")
def test_mail_failure_without_admins_sends_nothing(tmp_path: Path, mailoutbox: list[EmailMessage]) -> None:
    assert mail_outcome("x", failed(""), "", NOW) == mail_outcome("x", [], "", NOW) == ""
    assert not mailoutbox and not list(tmp_path.glob("state/failing"))


def test_mail_failure_invalid_settings_mails_each_time(settings: Any, mailoutbox: list[EmailMessage]) -> None:
    settings.ADMINS = ADMINS
    settings.IGNY8_BACKUP = {"JOBS": 0}
    for _ in range(2):
        assert mail_outcome("x", failed("ConfigurationError"), "JOBS is 0.", NOW) == ""
    assert len(mailoutbox) == 2 and mail_outcome("x", [], "", NOW) == ""


def test_report_mail_fails_is_noted(notes: Notes, settings: Any) -> None:
    settings.ADMINS = ADMINS
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with web_server() as gone:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", int(gone.url.rpartition(":")[2])
    with Report("x", notes) as report:
        report.fail("It did not work.")
    (text,) = notes.texts
    assert text.startswith("No mail could be sent to ADMINS: ConnectionRefusedError")


def test_report_interrupted_by_ctrl_c_sends_no_mail(
    web: WebServer, notes: Notes, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ADMINS = ADMINS
    with pytest.raises(KeyboardInterrupt), Report("x", notes, url=web.url):
        raise KeyboardInterrupt
    assert web.asked[1] == ("POST", "/fail", "KeyboardInterrupt") and not mailoutbox
