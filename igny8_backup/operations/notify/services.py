"""Notify the services in the setting ``NOTIFY`` through Apprise, which runs in a process of its own.

No text contains a URL of ``NOTIFY``: each is named by its position and its scheme, such as
``NOTIFY[0] (slack)``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec

from django.conf import settings

from igny8_backup.common.hidden import Hidden
from igny8_backup.common.humanize import listed
from igny8_backup.conf import SETTING, Config, ConfigurationError, Problem, get_config
from igny8_backup.conf.sections.notify import is_url
from igny8_backup.operations.notify import apprise_process as process
from igny8_backup.operations.notify.message import FAILURE, RECOVERY, SUMMARY, Delivery, Message
from igny8_backup.streams.interrupts import delay_interrupts

LIMIT = 20.0
"""Seconds for a notification as a whole, from the start of the process to its end."""
MAX_CHARACTERS = 1500
"""The longest text of a notification. Several services refuse a longer one."""
INSTALL = "pip install 'igny8-backup[notify]'"

_KINDS = {FAILURE: "failure", RECOVERY: "success", SUMMARY: "info"}
_REASONS = {
    process.REJECTED: "the service could not be reached, or refused the notification",
    process.INVALID: "Apprise cannot use the URL",
}


def notify(message: Message) -> Delivery:
    """Send ``message`` to every service in ``NOTIFY``; never raises for a notification that fails.

    The process that sends the notifications is killed after at most ``LIMIT`` seconds, with all processes
    that it has started.
    """
    urls = _urls()
    if not urls:
        return Delivery(sent=False)
    job = {"urls": urls, "kind": _KINDS[message.kind], "title": message.subject, "body": _shortened(message)}
    try:
        lines, in_time = _run(json.dumps(job).encode())
    except OSError as error:
        return Delivery(sent=False, problem=f"No notification was sent: {error.strerror}.")
    if process.MISSING in lines:
        return Delivery(sent=False, problem=f"No notification was sent: Apprise is missing. Run: {INSTALL}.")
    outcomes = dict(line.split(" ", 1) for line in lines)
    unfinished = f"no complete answer within {LIMIT:g} seconds" if not in_time else "its process was ended"
    return _delivery(urls, outcomes, unfinished)


def problems(config: Config) -> list[Problem]:
    """Return W050 if ``NOTIFY`` is set and Apprise is not installed."""
    if not config.notify or find_spec("apprise"):
        return []
    message = f"{SETTING}['NOTIFY'] is set, and Apprise, which sends the notifications, is not installed."
    return [Problem(id="igny8_backup.W050", message=message, hint=f"Run: {INSTALL}.")]


def _urls() -> list[str]:
    """Return the URLs in ``NOTIFY``, even if other settings are wrong.

    So a command that fails because of wrong settings can send a notification, too.
    """
    with suppress(ConfigurationError):
        return [url.reveal() for url in get_config().notify]
    found = getattr(settings, SETTING, None)
    items = found.get("NOTIFY") if isinstance(found, Mapping) else None
    items = items if isinstance(items, (list, tuple)) else ()
    revealed = [item.reveal() if isinstance(item, Hidden) else item for item in items]
    return [item for item in revealed if is_url(item)]


def _delivery(urls: Sequence[str], outcomes: Mapping[str, str], unfinished: str) -> Delivery:
    failed = []
    for index, url in enumerate(urls):
        outcome = outcomes.get(str(index), "")
        if outcome != process.SENT:
            name = f"NOTIFY[{index}] ({url.partition('://')[0]})"
            failed.append(f"{name}: {_REASONS.get(outcome, unfinished)}")
    problem = f"A notification was not sent to {listed(failed)}." if failed else ""
    return Delivery(sent=len(failed) < len(urls), problem=problem)


def _shortened(message: Message) -> str:
    """Return the text of ``message``, shortened to about ``MAX_CHARACTERS``.

    The beginning of a long summary is kept, and the end of any other long text.
    """
    text = message.text
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[:MAX_CHARACTERS]}…" if message.kind == SUMMARY else f"…{text[-MAX_CHARACTERS:]}"


def _run(job: bytes) -> tuple[list[str], bool]:
    """Run the process with ``job`` on its standard input; return its lines, and whether it ended in time."""
    path = os.pathsep.join(path or os.getcwd() for path in sys.path)
    with delay_interrupts():
        child = subprocess.Popen(
            [sys.executable, "-m", process.__name__],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    with child:
        try:
            output, in_time = child.communicate(job, timeout=LIMIT)[0], True
        except subprocess.TimeoutExpired as error:
            output, in_time = error.output or b"", False
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
    return output.decode().splitlines(), in_time
