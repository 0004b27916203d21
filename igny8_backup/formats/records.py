"""Convert frozen dataclasses to JSON and back. Data from storage is not trusted: its types are checked.

Fields may be ``str``, ``int``, ``bool``, aware ``datetime`` (RFC 3339, UTC), ``X | None``, ``tuple[X, ...]``,
``dict[str, X]``, other such dataclasses, and classes with methods ``to_plain`` and ``from_plain``.
Unknown fields are ignored, because a later release may add some. ``Upgrades`` read older schemas. A field
whose metadata is ``NOT_STORED`` exists in memory only.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from igny8_backup.errors import IntegrityError

T = TypeVar("T")

Upgrades = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
"""Functions that read older schemas: ``upgrades[1]`` turns an object of schema 1 into one of schema 2."""

VALUES_LIMIT = 1_000_000
"""The largest number of JSON values in a record. A short value takes up to 50 times as much memory in Python
as in the file, so a small file that an attacker stores could otherwise exhaust the memory."""
_UNCHANGED = "Nothing was changed."
NOT_STORED = {"stored": False}
"""The ``metadata`` of a field that is neither written nor read, and that needs a default."""


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
    if sum(map(data.count, (b"{", b"[", b","))) > VALUES_LIMIT:
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
        result: T = _typed(cls, value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{name} is malformed: {error}.", unchanged=_UNCHANGED, hint=hint) from None
    return result


def stored_fields(cls: Any) -> Iterator[dataclasses.Field[Any]]:
    """Yield the fields of a dataclass that are stored: all but those marked as ``NOT_STORED``."""
    return (field for field in dataclasses.fields(cls) if field.metadata.get("stored", True))


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


def _typed(kind: Any, value: Any, path: str = "") -> Any:
    if kind is str and type(value) is str and value.isascii():
        return value  # most values, so this comes first
    where = path or "the record"
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (arm for arm in get_args(kind) if arm is not type(None))
        return _typed(kind, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} is not a list")
        return tuple(_typed(get_args(kind)[0], item, f"{path}[{n}]") for n, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(f"{where} is not an object")
        names = [_typed(str, key, f"a name in {where}") for key in value]
        return {key: _typed(get_args(kind)[1], value[key], f"{path}.{key}") for key in names}
    if hasattr(kind, "from_plain"):
        return kind.from_plain(value)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path)
    if kind is datetime:
        return _moment(value, where)
    if type(value) is not kind:
        raise TypeError(f"{where} is not {kind.__name__}")
    if kind is str and not value.isascii():
        value.encode()  # raises for lone surrogates, which JSON allows and no terminal can print
    if kind is int and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where} has more than 64 bits")
    return value


def _moment(value: Any, where: str) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise TypeError(f"{where} is not a time with a zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{where} is outside the calendar") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass, from a cache.

    Evaluating the annotations takes longer than parsing a record.
    """
    return get_type_hints(kind)


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"{path or 'the record'} is not an object")
    hints = _hints(kind)
    found: dict[str, Any] = {}
    for name, required in _fields(kind):
        where = f"{path}.{name}" if path else name
        if name in value:
            found[name] = _typed(hints[name], value[name], where)
        elif required:
            raise TypeError(f"{where} is missing")
    return kind(**found)


@cache
def _fields(kind: Any) -> tuple[tuple[str, bool], ...]:
    """Return the names of the stored fields of a dataclass, and whether a record must have each."""
    missing = dataclasses.MISSING
    return tuple(
        (field.name, field.default is missing and field.default_factory is missing)
        for field in stored_fields(kind)
    )
