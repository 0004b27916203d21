"""Mail ``ADMINS``."""

from __future__ import annotations

from django.conf import settings
from django.core.mail import get_connection, mail_admins
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
    connection = get_connection()
    if getattr(connection, "timeout", LIMIT) is None:  # Django's SMTP backend without EMAIL_TIMEOUT
        setattr(connection, "timeout", 2 * LIMIT)  # noqa: B010  so that the thread ends after within() has given up
    try:
        mail_admins(subject, text, connection=connection)
    finally:
        connections.close_all()  # of this thread: a mail backend may write to a database
