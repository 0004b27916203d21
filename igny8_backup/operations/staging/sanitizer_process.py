"""The part of a sanitizing that runs in the side process: the project's SQL files and callables.

What they raise is told without a word that could hold data: what kind of error, where, and the server's words
only where they are about names.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from django.db import connections, transaction
from django.utils.module_loading import import_string

from igny8_backup.operations.staging.silence import suppress_output

DONE = b"sanitized"
"""What the process prints at its end: a sanitizer that leaves the interpreter has not been the last."""

# PostgreSQL docs, appendix A: violated constraints; syntax, unknown names and missing rights. Their primary
# messages name things. Values stand in details, which are not shown, and in the messages of other classes.
_OF_NAMES = ("23", "42")


class SanitizerError(Exception):
    """One failed; the text is fit to be shown."""


def run(sanitizers: Mapping[str, Sequence[str]]) -> None:
    """Runs them in order, each in a transaction of its own. Raises :class:`SanitizerError`."""
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
    """The kind of the error and the place; ``text`` is the SQL that was run, if it was a file."""
    cause = error.__cause__
    if isinstance(cause, psycopg.Error):
        return _of_the_server(cause, text)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.filename}, line {frame.lineno}; its words may hold data"


def _of_the_server(error: psycopg.Error, text: str) -> str:
    said = error.diag
    words = [f"{type(error).__name__}, SQLSTATE {error.sqlstate}"]
    if position := text and said.statement_position:
        words.append(f"line {text.count(chr(10), 0, int(position) - 1) + 1}")
    if (error.sqlstate or "").startswith(_OF_NAMES):
        words.append(said.message_primary or "")
    else:
        words += [name for name in (said.table_name, said.column_name, said.constraint_name) if name]
        words.append("its words may hold data")
    return ", ".join(words)
