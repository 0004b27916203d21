"""Find the indexes that can be built as soon as the rows of their table are there: :func:`is_plain_index`.

An expression or a condition can call a function that reads other tables, whatever PostgreSQL's rules for
immutable functions say. So only indexes of columns are built before all rows are there.
"""

from __future__ import annotations

import re

# As pg_get_indexdef() and pg_dump write them. They quote every name that has other characters.
_NAME = rb'(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")'
_QUALIFIED = rb"(?:%b\.)?%b" % (_NAME, _NAME)
_COLUMN = rb"%b(?: COLLATE %b)?(?: %b)?(?: DESC)?(?: NULLS (?:FIRST|LAST))?" % (_NAME, _QUALIFIED, _QUALIFIED)
_COLUMNS = rb"\(%b(?:, %b)*\)" % (_COLUMN, _COLUMN)
_INDEX = re.compile(
    rb"CREATE (?:UNIQUE )?INDEX %b ON %b USING %b %b;\n" % (_NAME, _QUALIFIED, _NAME, _COLUMNS)
)
_KEY = re.compile(
    rb"ALTER TABLE ONLY %b\n    ADD CONSTRAINT %b (?:PRIMARY KEY|UNIQUE) %b;\n"
    % (_QUALIFIED, _NAME, _COLUMNS)
)


def is_plain_index(kind: str, definition: bytes) -> bool:
    """Return whether an entry of an archive is an index, or a key, that consists of columns only.

    ``definition`` is the SQL of the entry, in the encoding of the dump.
    """
    found = {"INDEX": _INDEX, "CONSTRAINT": _KEY}.get(kind)
    return bool(found and found.fullmatch(definition))
