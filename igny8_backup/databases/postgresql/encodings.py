"""The encodings of databases, and of the text in archives of ``pg_dump``."""

from __future__ import annotations

import codecs
import os
import re

_ENCODING = re.compile(rb"SET client_encoding = '([^']*)'")


def codec_of(definition: bytes) -> str:
    """Return Python's name for the encoding that an entry of the kind ``ENCODING`` sets.

    ``definition`` is the SQL of the entry.
    """
    match = _ENCODING.match(definition)
    return python_codec(match[1].decode(errors="replace") if match else "")


def python_codec(name: str) -> str:
    """Return Python's name for the encoding that PostgreSQL calls ``name``.

    The result is UTF-8 for SQL_ASCII, which stands for bytes in any encoding, and for encodings that Python
    lacks.
    """
    name = re.sub(r"^WIN(?=\d)", "cp", name)
    name = {"KOI8R": "koi8-r", "KOI8U": "koi8-u"}.get(name, name)
    try:
        return "utf-8" if name == "SQL_ASCII" else codecs.lookup(name).name
    except LookupError:
        return "utf-8"


def as_argument(text: str, encoding: str) -> str:
    """Return an argument for a program that expects ``text`` in the ``encoding`` of a database.

    ``pg_dump`` compares the names in its arguments with those of tables, which it reads in that encoding.
    """
    return os.fsdecode(text.encode(python_codec(encoding), "surrogateescape"))
