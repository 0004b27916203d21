"""Convert frozen dataclasses to JSON and back. Data from storage is not trusted: its types are checked.

Fields may be ``str``, ``int``, ``bool``, aware ``datetime`` (RFC 3339, UTC), ``X | None``, ``tuple[X, ...]``,
``dict[str, X]``, other such dataclasses, and classes with methods ``to_plain`` and ``from_plain``.
Unknown fields are ignored, because a later release may add some. ``Upgrades`` read older schemas. A field
whose metadata is ``NOT_STORED`` exists in memory only. ``record_types`` checks the types.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from igny8_backup.errors import IntegrityError
from igny8_backup.formats.record_types import reader_of, stored_fields

T = TypeVar("T")

Upgrades = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
"""Functions that read older schemas: ``upgrades[1]`` turns an object of schema 1 into one of schema 2."""

VALUES_LIMIT = 1_000_000
"""The largest number of JSON values in a record. A short value takes up to 50 times as much memory in Python
as in the file, so a small file that an attacker stores could otherwise exhaust the memory."""
_UNCHANGED = "Nothing was changed."


class _AmbiguousError(ValueError):
    """JSON that one reader would understand differently from another."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; raise ``_AmbiguousError`` if it has a name twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _AmbiguousError("an object in it has the same name twice")
    return found


def _no_constant(name: str) -> None:
    raise _AmbiguousError(f"it contains {name}, which JSON does not allow")


def to_json(record: Any) -> bytes:
    """Return ``record`` as JSON in UTF-8, with sorted keys, an indent of two, and a newline at the end."""
    return (json.dumps(_plain(record), sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def to_line(record: Any) -> bytes:
    """Return ``record`` as JSON in UTF-8 on one line, with sorted keys, and without a newline at the end.

    For a record of many values, this needs half as much memory as :func:`to_json`.
    """
    plain = _plain(record)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def to_plain(record: Any) -> Any:
    """Return ``record`` as dicts, lists and other values that :mod:`json` can write."""
    return _plain(record)


def from_json(
    cls: type[T],
    data: bytes,
    *,
    name: str,
    schema: int,
    upgrades: Upgrades | None = None,
    hint: str = "Choose another backup: list_backups.",
) -> T:
    """Parse ``data``, JSON that :func:`to_json` wrote, into a record of the class ``cls``. Times are in UTC.

    ``schema`` is the newest schema that the caller can read; ``upgrades`` convert records of older schemas.
    Raises :class:`IntegrityError` if ``data`` is not a record of this class or has a newer schema. The error
    message contains ``name``, the name of the record, and ``hint``, what to do if the record is damaged.
    """
    if len(data) > VALUES_LIMIT and sum(map(data.count, (b"{", b"[", b","))) > VALUES_LIMIT:
        what = f"{name} has more than {VALUES_LIMIT} JSON values, the most that is read."
        raise IntegrityError(what, unchanged=_UNCHANGED, hint=hint)
    try:
        value = json.loads(data, object_pairs_hook=_object, parse_constant=_no_constant)
    except _AmbiguousError as error:
        raise IntegrityError(f"{name} is malformed: {error}.", unchanged=_UNCHANGED, hint=hint) from None
    except (ValueError, RecursionError):
        raise IntegrityError(f"{name} is not JSON.", unchanged=_UNCHANGED, hint=hint) from None
    found = value.get("schema") if isinstance(value, dict) else None
    if type(found) is int and found > schema:
        raise IntegrityError(
            f"{name} has schema {found}; this release of igny8_backup reads up to {schema}.",
            hint="Install the release that wrote it, or a later one: pip install --upgrade igny8-backup.",
        )
    try:
        if type(found) is int and found < 1:
            raise ValueError(f"its schema is {found}")
        if upgrades and type(found) is int:
            for old in range(found, schema):
                value = {**upgrades[old](value), "schema": old + 1}
        result: T = reader_of(cast("Any", cls))(value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{name} is malformed: {error}.", unchanged=_UNCHANGED, hint=hint) from None
    return result


def _plain(value: Any) -> Any:
    if hasattr(value, "to_plain"):
        return value.to_plain()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in stored_fields(type(value))}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
