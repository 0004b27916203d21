"""Discard the mails of the project in the sandbox process."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import django

_NO_MAIL = "django.core.mail.backends.dummy.EmailBackend"


def isolate_mail(settings: Any) -> None:
    """Make every mailer of the project discard its mails: those in MAILERS (Django 6.1), or EMAIL_BACKEND."""
    mailers = getattr(settings, "MAILERS", None)
    if mailers is not None:
        settings.MAILERS = {alias: {"BACKEND": _NO_MAIL} for alias in mailers}
    if mailers is None or django.VERSION < (6, 1):
        with warnings.catch_warnings():
            # Deprecated since Django 6.1, but a project without MAILERS uses nothing else.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            settings.EMAIL_BACKEND = _NO_MAIL


def discard_smtp(module: ModuleType) -> None:
    """Discard mails that the project sends with Django's SMTP backend, whatever ``EMAIL_BACKEND`` says."""
    module.EmailBackend.open = lambda self: False
    module.EmailBackend.send_messages = lambda self, messages: len(messages)
