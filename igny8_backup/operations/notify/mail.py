"""Mail ``ADMINS``."""

from __future__ import annotations

import warnings
from typing import Any

import django
from django.conf import settings
from django.core import mail as django_mail
from django.db import connections

from igny8_backup.common.deadline import within
from igny8_backup.common.outside import is_from_outside
from igny8_backup.operations.notify.message import Delivery, Message

LIMIT = 30.0
"""Seconds for sending a mail, from the connection to the answer of the mail server."""


def mail(message: Message) -> Delivery:
    """Send ``message`` to ``ADMINS``. Without ``ADMINS`` nothing is sent, which is no problem."""
    if not settings.ADMINS:
        return Delivery(sent=False)
    try:
        within(LIMIT, lambda: _send(message.subject, message.text))
    except Exception as error:  # mail backends raise any exception
        if is_from_outside(error):
            raise
        problem = f"No mail could be sent to ADMINS: {type(error).__name__}: {error}."
        return Delivery(sent=False, problem=problem)
    return Delivery(sent=True)


def _send(subject: str, text: str) -> None:
    mailer = _default_mailer()
    if getattr(mailer, "timeout", LIMIT) is None:  # Django's SMTP backend without a timeout in the settings
        mailer.timeout = 2 * LIMIT  # so that the thread ends after within() has given up
    try:
        # Not mail_admins(): since Django 6.1 it should not be given a connection.
        message = django_mail.EmailMessage(
            f"{settings.EMAIL_SUBJECT_PREFIX}{subject}", text, settings.SERVER_EMAIL, _addresses()
        )
        mailer.send_messages([message])
    finally:
        connections.close_all()  # of this thread: a mail backend may write to a database


def _default_mailer() -> Any:
    """Return the mail backend that the settings choose: the default of MAILERS, or EMAIL_BACKEND."""
    with warnings.catch_warnings():
        # If warnings are errors, deprecated mail settings must not keep an alarm from being sent.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        if django.VERSION >= (6, 1):
            return django_mail.mailers.default
        return django_mail.get_connection()


def _addresses() -> list[str]:
    """Return the addresses in ADMINS. Before Django 6.0 each of them has a name too."""
    return [str(item[1] if isinstance(item, (list, tuple)) else item) for item in settings.ADMINS]
