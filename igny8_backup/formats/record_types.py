"""Read JSON values as the types of the fields of records, and check them: :func:`reader_of`."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

NOT_STORED = {"stored": False}
"""The ``metadata`` of a field that is neither written nor read, and that needs a default."""
_LONGEST_SHARED = 128
"""The length of the longest text of which equal ones are kept once."""
Read = Callable[[Any], Any]
"""A function that returns a JSON value as the type of a field. Raises ``ValueError`` and ``TypeError``."""


def stored_fields(cls: Any) -> Iterator[dataclasses.Field[Any]]:
    """Yield the fields of a dataclass that are stored: all but those marked as ``NOT_STORED``."""
    return (field for field in dataclasses.fields(cls) if field.metadata.get("stored", True))


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Return whether a record must have the field, because it has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


class _WrongValueError(ValueError):
    """A JSON value that a field cannot have. ``path`` leads to it, such as ``.trees[0].name``."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path[1:] or 'the record'} {self.args[0]}"


@cache
def reader_of(kind: Any) -> Read:
    """Return the function that reads values of the type ``kind``.

    It is made once for each type: to look at annotations takes longer than to parse a record.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (kind,) = (arm for arm in arguments if arm is not type(None))
        return _or_none(reader_of(kind)) if len(arguments) > 1 else reader_of(kind)
    if origin in (tuple, Sequence):
        return _tuple_reader(reader_of(arguments[0]), shared=arguments[0] is str)
    if origin is dict:
        return _dict_reader(reader_of(arguments[1]))
    if hasattr(kind, "from_plain"):
        found: Read = kind.from_plain
        return found
    if dataclasses.is_dataclass(kind):
        return _dataclass_reader(kind)
    return _SCALARS.get(kind) or _exact(kind)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _WrongValueError("is not str")
    return _shared_text(value) if len(value) <= _LONGEST_SHARED else _printable(value)


def _printable(text: str) -> str:
    if not text.isascii():
        text.encode()  # raises for lone surrogates, which JSON allows and no terminal can print
    return text


@lru_cache(maxsize=4096)
def _shared_text(text: str) -> str:
    """Return an equal text, the same for neighbouring records: thousands of backups name the same lists."""
    return _printable(text)


def _number(value: Any) -> int:
    if type(value) is not int:
        raise _WrongValueError("is not int")
    if not -(2**63) <= value < 2**63:
        raise _WrongValueError("has more than 64 bits")
    return value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise _WrongValueError("is not a time with a zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise _WrongValueError("is outside the calendar") from None


_SCALARS: dict[Any, Read] = {str: _text, int: _number, datetime: _moment}


def _exact(kind: type) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _WrongValueError(f"is not {kind.__name__}")
        return value

    return read


def _or_none(inner: Read) -> Read:
    return lambda value: None if value is None else inner(value)


@lru_cache(maxsize=1024)
def shared_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return an equal tuple, the same for all records: thousands of them name the same few codecs."""
    return texts


def _tuple_reader(inner: Read, *, shared: bool) -> Read:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _WrongValueError("is not a list")
        items = []
        try:
            for item in value:
                items.append(inner(item))
        except _WrongValueError as error:
            error.path = f"[{len(items)}]{error.path}"
            raise
        return shared_texts(tuple(items)) if shared else tuple(items)

    return read


def _dict_reader(inner: Read) -> Read:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _WrongValueError("is not an object")
        found = {}
        for name, item in value.items():
            try:
                found[_text(name)] = inner(item)
            except _WrongValueError as error:
                error.path = f".{name}{error.path}"
                raise
        return found

    return read


def _dataclass_reader(kind: Any) -> Read:
    hints = get_type_hints(kind)
    fields = [(field.name, reader_of(hints[field.name])) for field in stored_fields(kind)]
    required = dict.fromkeys(field.name for field in stored_fields(kind) if is_required(field)).keys()

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _WrongValueError("is not an object")
        if not required <= value.keys():
            name = next(name for name in required if name not in value)
            raise _WrongValueError("is missing", f".{name}")
        found = {}
        try:
            for name, inner in fields:
                if name in value:
                    found[name] = inner(value[name])
        except _WrongValueError as error:
            error.path = f".{name}{error.path}"
            raise
        return kind(**found)

    return read
