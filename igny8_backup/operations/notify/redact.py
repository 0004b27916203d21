"""Remove secrets from a text before it leaves the machine.

Messages of this package contain no secrets of their own, but they quote messages of database drivers, mail
servers and programs, which may contain secrets.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.views.debug import SafeExceptionReporterFilter

from igny8_backup.common.hidden import SECRET_KEYS, SHOWN, Hidden

HIDDEN = SHOWN
_MIN_LENGTH = 4
"""Shorter values occur in ordinary words: replacing them would make the text unreadable."""
_PATTERNS = (
    (re.compile(r"AGE-SECRET-KEY-1\w*", re.IGNORECASE), HIDDEN),
    (re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(\bpassword\s*[=:]\s*)('[^']*'|[^\s'&]+)", re.IGNORECASE), rf"\1{HIDDEN}"),
)


def redacted(text: str) -> str:
    """Return ``text`` without the secrets in the settings, passwords in URLs, and age identities."""
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _secrets() -> Iterator[str]:
    names = [name for name in dir(settings) if name.isupper()]
    with warnings.catch_warnings():
        # Reading a deprecated setting warns, and where warnings are errors, it fails.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        values = {name: getattr(settings, name, None) for name in names}
    for name, value in values.items():
        yield from _within(name, value)


def _within(name: str, value: Any) -> Iterator[str]:
    """Yield the secrets in ``value``, the value of the setting or dictionary key ``name``.

    A text is a secret if Django hides values of that name on its error pages, or if ``SECRET_KEYS`` has the
    name.
    """
    if isinstance(value, Mapping):
        for key, found in value.items():
            yield from _within(str(key), found)
    elif isinstance(value, (list, tuple)):
        for found in value:
            yield from _within(name, found)
    elif isinstance(value, Hidden):
        yield from _within(name, value.reveal())
    elif isinstance(value, str) and len(value) >= _MIN_LENGTH:
        # A dotted path names code, as in AUTH_USER_MODEL and PASSWORD_HASHERS, and is not a secret.
        named = name in SECRET_KEYS or SafeExceptionReporterFilter.hidden_settings.search(name)
        if named and not re.fullmatch(r"[A-Za-z_]+(\.\w+)+", value):
            yield value
