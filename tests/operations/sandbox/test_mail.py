"""Mail where warnings are errors, with the settings of Django 6.1 (MAILERS) and with older ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import django
import pytest

pytestmark = pytest.mark.slow

SETTINGS = {
    "older": "EMAIL_BACKEND = {0!r}",
    "MAILERS": "MAILERS = {{'default': {{'BACKEND': {0!r}}}, 'second': {{'BACKEND': {0!r}}}}}",
}
LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
SCRIPT = """
import warnings
from django.conf import settings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the settings are those of the project
    settings.DEBUG
from django.core import mail
from igny8_backup.operations.notify.mail import mail as mail_admins
from igny8_backup.operations.notify.message import FAILURE, Message
from igny8_backup.operations.sandbox.isolation import isolate_settings

mail.outbox = []
assert mail_admins(Message(FAILURE, "prune_backups failed", "The text.")).sent
(sent,) = mail.outbox
assert (sent.subject, sent.body, sent.to) == ("[x] prune_backups failed", "The text.", ["ada@example.org"])
isolate_settings({}, [])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the project's code sends these mails
    mail.send_mail("a", "b", "a@example.com", ["b@example.com"])
    if MAILERS:
        mail.mailers["second"].send_messages([sent])
assert mail.outbox == [sent]
"""


@pytest.mark.parametrize("kind", SETTINGS if django.VERSION >= (6, 1) else ["older"])
def test_mail_to_admins_arrives_and_mail_in_the_sandbox_is_discarded(kind: str, tmp_path: Path) -> None:
    admins = ["ada@example.org"] if django.VERSION >= (6,) else [("Ada", "ada@example.org")]
    text = f"SECRET_KEY = 'x'\nADMINS = {admins}\nEMAIL_SUBJECT_PREFIX = '[x] '\nDATABASES = {{}}\n"
    (tmp_path / "conf.py").write_text(text + SETTINGS[kind].format(LOCMEM))
    argv = [sys.executable, "-W", "error", "-c", f"MAILERS = {kind == 'MAILERS'}\n{SCRIPT}"]
    env = {"DJANGO_SETTINGS_MODULE": "conf", "PYTHONPATH": ":".join(map(str, [tmp_path, *sys.path]))}
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
