"""Tell the operator when a failure begins, about once a day while it lasts, and when it has ended.

The channels are mail and notifications. For each channel, ``STATE_DIR`` records which alarms were sent (see
``alarms``). So a command that runs every hour does not send a message every hour, and messages that a channel
could not send are sent later.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from igny8_backup.conf import ConfigurationError, get_config
from igny8_backup.operations.notify.alarms import Alarm, read_sent, write_sent
from igny8_backup.operations.notify.mail import mail
from igny8_backup.operations.notify.message import FAILURE, RECOVERY, Delivery, Message
from igny8_backup.operations.notify.services import notify

REPEAT_AFTER = timedelta(hours=20)
"""The time after which the same failure is sent again: every night for a nightly command, once a day for an
hourly one."""
NOTIFY = "NOTIFY"


@dataclass(frozen=True)
class Channel:
    """A way to send messages. ``suffix`` is part of the name of the file that records what was sent."""

    suffix: str
    send: Callable[[Message], Delivery]


MAIL, SERVICES = Channel("", mail), Channel(".notify", notify)


def tell_outcome(
    what: str, alarms: Collection[Alarm], text: str, now: datetime, *, scope: Collection[str] | None = None
) -> list[str]:
    """Report over all channels which alarms (failures) of the command ``what`` are new or have ended.

    Services are notified first. If a notification cannot be sent, ``ADMINS`` get a mail that says so. Returns
    a sentence for each message that was not sent. ``text`` is the body of a message about a failure,
    ``scope`` the set of parts that the run worked on (``None`` for all).
    """
    delivery = announce(SERVICES, what, alarms, text, now, scope=scope)
    found = [delivery.problem, announce(MAIL, what, alarms, text, now, scope=scope).problem]
    if delivery.sent or delivery.problem:
        found.append(report_delivery(delivery, now))
    return list(filter(None, found))


def report_delivery(delivery: Delivery, now: datetime) -> str:
    """Mail ``ADMINS`` that services were not notified, or that notifications work again.

    ``delivery`` is the result of the newest notification. Returns why no mail was sent, or ``""``.
    """
    failed = [Alarm("", delivery.problem)] if delivery.problem else []
    return announce(MAIL, NOTIFY, failed, delivery.problem, now).problem


def announce(
    channel: Channel,
    what: str,
    alarms: Collection[Alarm],
    text: str,
    now: datetime,
    *,
    scope: Collection[str] | None = None,
) -> Delivery:
    """Report over ``channel`` which alarms (failures) of the command ``what`` are new, and which have ended.

    ``alarms`` is empty after a success. ``text`` is the body of the message about a failure. ``scope`` is the
    set of parts that the run worked on (``None`` for all); recorded alarms of other parts do not change.
    """
    file = _alarms_file(what, channel)
    sent = read_sent(file, now)
    recorded = dict(sent)
    failing = {alarm.part for alarm in alarms}
    ended = {
        alarm: at
        for alarm, at in sent.items()
        if alarm.part not in failing and (scope is None or alarm.part in {"", *scope})
    }
    deliveries = []
    if any(alarm not in sent or now - sent[alarm] >= REPEAT_AFTER for alarm in alarms):
        deliveries.append(channel.send(Message(FAILURE, f"{what} failed on {host_name()}", text)))
        if deliveries[-1].sent:
            sent.update(dict.fromkeys(alarms, now))
    if ended:
        message = Message(RECOVERY, f"{what} works again on {host_name()}", _recovery_text(what, ended))
        deliveries.append(channel.send(message))
        if deliveries[-1].sent:
            sent = {alarm: at for alarm, at in sent.items() if alarm not in ended}
    if sent != recorded:
        write_sent(file, sent)
    problem = next((item.problem for item in deliveries if item.problem), "")
    return Delivery(sent=any(item.sent for item in deliveries), problem=problem)


def host_name() -> str:
    """Return the setting ``HOST``, or the name of the machine if the settings are wrong."""
    try:
        return get_config().host
    except ConfigurationError:
        return socket.gethostname()


def _recovery_text(what: str, ended: Mapping[Alarm, datetime]) -> str:
    last = max(ended.values()).isoformat(timespec="seconds")
    parts = ", ".join(sorted({alarm.part for alarm in ended} - {""}))
    of = f" for {parts}" if parts else ""
    return f"{what} works again{of}. Its last failure was reported at {last}."


def _alarms_file(what: str, channel: Channel) -> Path | None:
    try:
        return get_config().state_dir / "failing" / f"{what}{channel.suffix}.json"
    except ConfigurationError:
        return None  # without STATE_DIR every failure is sent
