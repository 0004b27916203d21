"""Read the keys of the setting ``IGNY8_BACKUP`` one by one and collect the problems."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from igny8_backup.common.humanize import size_from_words
from igny8_backup.conf.model import SETTING, Problem

_SECRET = re.compile(r"AGE-SECRET-KEY-1\w*", re.IGNORECASE)


class Reader:
    """The keys of ``IGNY8_BACKUP`` that are still unread, and the problems found so far.

    Each ``take`` method removes one key from the unread ones and checks its value. The method returns the
    value, or the default if the key is missing or wrong.
    """

    def __init__(self, value: Any) -> None:
        self.problems: list[Problem] = []
        self.value: dict[str, Any] = {}
        if isinstance(value, Mapping):
            self.value = dict(value)
        else:
            self.wrong(
                "E001",
                f"{SETTING} is not a dict.",
                f'Set {SETTING} = {{...}}: see "Settings" in the documentation.',
            )

    def wrong(self, number: str, message: str, hint: str) -> None:
        """Record a problem. ``number`` is that of the system check that reports it: ``E005``."""
        # A private key may have been put into any setting, so no message may repeat one.
        message = _SECRET.sub("(a private key)", message)
        self.problems.append(Problem(id=f"igny8_backup.{number}", message=message, hint=hint))

    def take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        """Return the value of ``key``, which must be of the type ``kind`` or of one of several types."""
        found = self.value.pop(key, default)
        if found is default or (isinstance(found, kind) and not (kind is int and isinstance(found, bool))):
            return found
        kinds = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        self.wrong(
            "E003",
            f"{SETTING}[{key!r}] is {type(found).__name__}, not {kinds}.",
            f'See {key} under "Settings" in the documentation.',
        )
        return default

    def take_path(self, key: str, default: Path | None) -> Path | None:
        """Return the value of ``key``, which must be an absolute path or None."""
        found = self.value.pop(key, default)
        return None if found is None else self.path(f"{SETTING}[{key!r}]", found) or default

    def path(self, where: str, found: Any) -> Path | None:
        """Return ``found`` as a path. If it is not absolute, record a problem and return ``None``.

        ``where`` names the setting in the message.
        """
        if isinstance(found, (str, Path)) and Path(found).is_absolute() and "\0" not in str(found):
            return Path(found)
        self.wrong(
            "E004", f"{where} is not an absolute path: {found!r}.", "Give the absolute path, starting with /."
        )
        return None

    def take_int(self, key: str, default: int, low: int, high: int) -> int:
        """Return the value of ``key``, which must be a number from ``low`` to ``high``."""
        found: int = self.take(key, int, default)
        if low <= found <= high:
            return found
        self.wrong(
            "E005",
            f"{SETTING}[{key!r}] is {found}, which is out of range.",
            f"Give a number from {low} to {high}.",
        )
        return default

    def take_optional_int(self, key: str, low: int, high: int) -> int | None:
        """Return the value of ``key``, a number from ``low`` to ``high``, or ``None`` if it is not set."""
        if self.value.get(key) is None:
            self.value.pop(key, None)
            return None
        return self.take_int(key, low, low, high)

    def take_size(self, key: str) -> int | None:
        """Return the value of ``key`` in bytes, or None if the key is missing or wrong.

        The value must be a number or a text such as "200GB".
        """
        found = self.take(key, (int, str), None)
        if found is None:
            return None
        try:
            return size_from_words(str(found))
        except ValueError as error:
            self.wrong("E012", f"{SETTING}[{key!r}]: {error}.", 'Write a number of bytes, or "200GB".')
            return None
