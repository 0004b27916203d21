"""What changes in a backup if its recipients are rotated: the names of its encrypted objects and lists.

A rotation stores each encrypted object again, with a new age header that other recipients can decrypt. It
also stores new lists, which describe the new objects. All of these get new names, which contain a token. A
new manifest then names them and replaces the earlier manifest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from igny8_backup.formats.objects import StoredObject
from igny8_backup.formats.parts.listed_packs import ListedPacks

T = TypeVar("T")

_MARK_RE = re.compile(r"^r[0-9a-f]{6}\.")


def rotated_key(key: str, token: str) -> str:
    """Return the key under which a rotation stores the object ``key`` with its new header.

    ``token`` is six lower-case hexadecimal digits. For example, ``db/default.dump.zst.age`` becomes
    ``db/default.r7f3a9c.dump.zst.age``.
    """
    folder, slash, name = key.rpartition("/")
    stem, _, rest = name.partition(".")
    return f"{folder}{slash}{stem}.r{token}.{_MARK_RE.sub('', rest)}"


def with_objects(record: T, change: Callable[[StoredObject], StoredObject]) -> T:
    """Return a copy of a manifest, or of a part of one, in which ``change`` has replaced each object."""
    found: T = _changed(record, change)
    return found


def _changed(value: Any, change: Callable[[StoredObject], StoredObject]) -> Any:
    if isinstance(value, StoredObject):
        return change(value)
    if isinstance(value, (tuple, ListedPacks)):
        return tuple(_changed(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: _changed(getattr(value, field.name), change) for field in fields(value)}
        )
    return value
