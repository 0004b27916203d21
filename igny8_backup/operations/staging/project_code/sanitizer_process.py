"""Run the project's sanitizers in the sandbox process, and report errors without data.

A sanitizer is an SQL file or a callable. Errors are reported by class, file and line; a message of the server
is shown only if it contains nothing but names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from django.db import connections, transaction
from django.utils.module_loading import import_string

from igny8_backup.databases.session import DriverError, from_driver
from igny8_backup.operations.sandbox.failures import with_refused_connections
from igny8_backup.operations.sandbox.isolation import NotRestoredError
from igny8_backup.operations.sandbox.places import place_of, project_packages

# PostgreSQL documentation, appendix A: violated constraints, syntax errors, unknown names, missing rights.
# Their primary messages contain only names. Values are in the details, which are not shown.
_ABOUT_NAMES = ("23", "42")
_HIDDEN = "its message is not shown, because it may contain data"


class SanitizerError(Exception):
    """A sanitizer failed. The message contains no data."""


def run(sanitizers: Mapping[str, Sequence[str]]) -> None:
    """Run the sanitizers of each alias in order, each in its own transaction. Raises ``SanitizerError``."""
    for alias, items in sanitizers.items():
        for item in items:
            _run_one(alias, item)
    connections.close_all()


def check_imports(sanitizers: Sequence[str]) -> None:
    """Import each of ``sanitizers`` that is a dotted path of a function and not the path of a SQL file.

    Raises ``SanitizerError`` if one cannot be imported.
    """
    for item in sanitizers:
        if not item.endswith(".sql"):
            try:
                import_string(item)
            except Exception as error:
                place = place_of(error, project_packages())
                text = f"{item} cannot be imported: {type(error).__name__} in {place}"
                raise SanitizerError(with_refused_connections(text)) from None


def _run_one(alias: str, item: str) -> None:
    text = ""
    try:
        with transaction.atomic(using=alias):
            if item.endswith(".sql"):
                text = Path(item).read_text("utf-8-sig")
                with connections[alias].cursor() as cursor:
                    cursor.execute(text)
            else:
                import_string(item)(alias)
    except (Exception, SystemExit) as error:
        described = with_refused_connections(f"{item} ({alias}): {_without_data(error, text)}")
        raise SanitizerError(described) from None


def _without_data(error: BaseException, text: str) -> str:
    """Describe an error by its class, file and line. ``text`` is the SQL of the file that was run, if any."""
    place = place_of(error, project_packages())
    if isinstance(error, NotRestoredError):
        return f"{error} ({place})"
    if of_driver := from_driver(error.__cause__):
        return f"{_describe_server_error(of_driver, text)}{'' if text else f' ({place})'}"
    return f"{type(error).__name__} in {place}; {_HIDDEN}"


def _describe_server_error(error: DriverError, text: str) -> str:
    words = [f"{error.name}, SQLSTATE {error.sqlstate or None}"]
    if position := text and error.position:
        words.append(f"line {text.count(chr(10), 0, int(position) - 1) + 1}")
    if error.sqlstate.startswith(_ABOUT_NAMES):
        words.append(error.primary)
    else:
        words += [name for name in (error.table_name, error.column_name, error.constraint_name) if name]
        words.append(_HIDDEN)
    return ", ".join(words)
