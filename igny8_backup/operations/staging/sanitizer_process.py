"""Run the project's sanitizers in the sandbox process, and report errors without data.

A sanitizer is an SQL file or a callable. Errors are reported by class, file and line; a message of the server
is shown only if it contains nothing but names.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.db import connections, transaction
from django.utils.module_loading import import_string

from igny8_backup.databases.session import DriverError, from_driver
from igny8_backup.operations.staging.suppress_output import suppress_output

DONE = b"sanitized"
"""The output of the process after all sanitizers have run.

It is missing if a sanitizer has ended the process.
"""

# PostgreSQL documentation, appendix A: violated constraints, syntax errors, unknown names, missing rights.
# Their primary messages contain only names. Values are in the details, which are not shown.
_ABOUT_NAMES = ("23", "42")


class SanitizerError(Exception):
    """A sanitizer failed. The message contains no data."""


def run(sanitizers: Mapping[str, Sequence[str]]) -> None:
    """Run the sanitizers of each alias in order, each in its own transaction. Raises ``SanitizerError``."""
    with suppress_output():
        for alias, items in sanitizers.items():
            for item in items:
                _run_one(alias, item)
        connections.close_all()
    os.write(1, DONE)


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
        raise SanitizerError(f"{item} ({alias}): {_without_data(error, text)}") from None


def _without_data(error: BaseException, text: str) -> str:
    """Describe an error by its class, file and line. ``text`` is the SQL of the file that was run, if any."""
    if of_driver := from_driver(error.__cause__):
        return _describe_server_error(of_driver, text)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} in {frame.filename}, line {frame.lineno}"
    return f"{place}; its message is hidden: it may contain data"


def _describe_server_error(error: DriverError, text: str) -> str:
    words = [f"{error.name}, SQLSTATE {error.sqlstate or None}"]
    if position := text and error.position:
        words.append(f"line {text.count(chr(10), 0, int(position) - 1) + 1}")
    if error.sqlstate.startswith(_ABOUT_NAMES):
        words.append(error.primary)
    else:
        words += [name for name in (error.table_name, error.column_name, error.constraint_name) if name]
        words.append("its message is hidden: it may contain data")
    return ", ".join(words)
