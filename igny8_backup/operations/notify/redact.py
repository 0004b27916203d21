"""Takes secrets out of a text before it leaves the machine.

No message of ours holds one (law 6); this is for the words of others that a message repeats: a driver's, a
mail server's, a program's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.views.debug import SafeExceptionReporterFilter

HIDDEN = "********"
_SHORTEST = 4
"""Shorter values are words that stand everywhere: hiding them would hide the text."""
_PATTERNS = (
    (re.compile(r"AGE-SECRET-KEY-1\w*", re.IGNORECASE), HIDDEN),
    (re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(\bpassword\s*[=:]\s*)('[^']*'|[^\s'&]+)", re.IGNORECASE), rf"\1{HIDDEN}"),
)


def redacted(text: str) -> str:
    """``text`` without passwords, keys and tokens of the settings, passwords in URLs, and age identities."""
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text


def _secrets() -> Iterator[str]:
    for name in dir(settings):
        if name.isupper():
            yield from _within(name, getattr(settings, name, None))


def _within(name: str, value: Any) -> Iterator[str]:
    """The secrets in a setting, by the names that Django hides on its own error pages."""
    if isinstance(value, Mapping):
        for key, found in value.items():
            yield from _within(str(key), found)
    elif isinstance(value, (list, tuple)):
        for found in value:
            yield from _within(name, found)
    elif isinstance(value, str) and len(value) >= _SHORTEST:
        # A dotted path is the name of code: AUTH_USER_MODEL, PASSWORD_HASHERS.
        named = SafeExceptionReporterFilter.hidden_settings.search(name)
        if named and not re.fullmatch(r"[A-Za-z_]+(\.\w+)+", value):
            yield value
