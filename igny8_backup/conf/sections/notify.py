"""Read the keys about notifications: NOTIFY and NOTIFY_SUMMARY."""

from __future__ import annotations

import re
from typing import Any

from igny8_backup.common.hidden import Hidden
from igny8_backup.conf.model import SETTING
from igny8_backup.conf.parser import Reader

DAILY, WEEKLY = "daily", "weekly"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://.+", re.IGNORECASE)


def read_notify(reader: Reader) -> tuple[Hidden, ...]:
    """Return the URLs of the services to notify. No error message contains a URL, because all are secret."""
    found = reader.take("NOTIFY", object, ())
    urls = [item.reveal() if isinstance(item, Hidden) else item for item in _items(found)]
    wrong = [number for number, url in enumerate(urls) if not is_url(url)]
    if wrong or not isinstance(found, (list, tuple)):
        which = f"[{wrong[0]}] is not a URL of Apprise." if wrong else " is not a list of URLs."
        reader.wrong(
            "E050",
            f"{SETTING}['NOTIFY']{which}",
            'Write ["mailto://user:password@example.org"]: see "Get alerts" in the documentation.',
        )
        return ()
    return tuple(map(Hidden, urls))


def read_summary(reader: Reader) -> str:
    """Return how often a summary is sent: ``DAILY``, ``WEEKLY``, or an empty text for never."""
    found = reader.take("NOTIFY_SUMMARY", object, None)
    if found is None or (isinstance(found, str) and found in (DAILY, WEEKLY)):
        return found or ""
    reader.wrong(
        "E050",
        f"{SETTING}['NOTIFY_SUMMARY'] is {found!r}, which is not allowed.",
        f'Write "{DAILY}" or "{WEEKLY}", or remove the key.',
    )
    return ""


def is_url(value: Any) -> bool:
    """Return whether ``value`` has the form of a URL. Only Apprise knows whether it can be used."""
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def _items(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, (list, tuple)) else ()
