"""Describe an exception of the project's code by its class, file and line, with values masked.

The message of an exception that is raised while the project starts is shown, because it is about settings and
names; only parts that look like a value or a secret are masked. A later exception may quote rows: see
``staging.project_code``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from igny8_backup.databases.redact import HIDDEN, without_values
from igny8_backup.operations.sandbox.isolation import NotRestoredError
from igny8_backup.operations.sandbox.network import SandboxConnectionError, refused_connections
from igny8_backup.operations.sandbox.places import place_of

# "redis://user:password@host", "postgres://..."
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s'\"]*", re.IGNORECASE)
_ASSIGNED = re.compile(r"(?i)\b(pass(?:word|wd)?|secret|token|key|dsn|user)(\s*[=:]\s*)[^\s,;)]+")
_ADDRESS = re.compile(r"[^\s<>'\"]+@[^\s<>'\"]+")
_LITERAL = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"")
# The messages of these classes consist of names of the code and of settings.
_ABOUT_NAMES = (ImportError, NameError, AttributeError, SyntaxError)
_NAMES_IN_DJANGO = {"ImproperlyConfigured", "AppRegistryNotReady", "CommandError", "FieldError"}


def describe_failure(error: BaseException, packages: Iterable[str] = ()) -> str:
    """Return a sentence about an exception that was raised while the project started.

    ``packages`` are the top-level names of the project's own packages. They are recognized even if they are
    installed like libraries.
    """
    return with_refused_connections(f"{_describe(error)} ({place_of(error, packages)})")


def with_refused_connections(text: str) -> str:
    """Return the description ``text`` of a failure, with the connections that the sandbox refused.

    These may have caused the failure.
    """
    refused = refused_connections()
    return f"{text}. {refused}" if refused else text


def _describe(error: BaseException) -> str:
    name, text = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, SystemExit):
        return (
            f"the project's code ended the process with exit status {error.code!r}"
            if text.isdigit()
            else ("the project's code ended the process")
        )
    if isinstance(error, NotRestoredError):
        return str(error)
    if isinstance(error, SandboxConnectionError):
        return name  # its address follows, with those of other refused connections
    text = _ADDRESS.sub(HIDDEN, _URL.sub(rf"\1{HIDDEN}", without_values(text)))
    text = _ASSIGNED.sub(rf"\1\2{HIDDEN}", text)
    if not isinstance(error, _ABOUT_NAMES) and name not in _NAMES_IN_DJANGO:
        text = _LITERAL.sub(HIDDEN, text)
    return f"{name}: {text}" if text else name
