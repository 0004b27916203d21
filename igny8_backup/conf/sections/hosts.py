"""Read the key HOSTS: the machines that are expected to make backups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igny8_backup.conf.model import SETTING
from igny8_backup.conf.parser import Reader
from igny8_backup.formats import keys

_KNOWN: frozenset[str] = frozenset()
"""The keys that the dict of a host may have."""


def read_hosts(reader: Reader) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the settings of each host by its name. ``None`` means that the settings declare no host."""
    found: dict[Any, Any] | None = reader.take("HOSTS", dict, None)
    if found is None:
        return None
    for name, settings in found.items():
        if problem := _problem(name, settings):
            reader.wrong("E036", f"{SETTING}['HOSTS']{problem}", 'Write {"web-1": {}, "web-2": {}}.')
            return None
    if not found:
        hint = 'Write {"web-1": {}, "web-2": {}}, or remove the key.'
        reader.wrong(
            "E036", f"{SETTING}['HOSTS'] names no host, so a missing backup would not be noticed.", hint
        )
        return None
    return found


def _problem(name: Any, settings: Any) -> str:
    """Return what is wrong with the entry of a host, as the rest of a sentence, or ``""``."""
    if not (isinstance(name, str) and keys.is_host(name)):
        return f" has the name {name!r}, which cannot be the HOST of a machine."
    if not isinstance(settings, Mapping):
        return f"[{name!r}] is {type(settings).__name__}, not a dict."
    unknown = [key for key in settings if key not in _KNOWN]
    return f"[{name!r}] has the unknown key {unknown[0]!r}." if unknown else ""
