"""The encoding of the text in an archive of ``pg_dump``."""

from __future__ import annotations

import codecs
import re

_ENCODING = re.compile(rb"SET client_encoding = '([^']*)'")


def codec_of(definition: bytes) -> str:
    """Return Python's name for the encoding that an entry of the kind ``ENCODING`` sets.

    ``definition`` is the SQL of the entry. The result is UTF-8 for SQL_ASCII, which stands for bytes in any
    encoding, and for encodings that Python lacks.
    """
    match = _ENCODING.match(definition)
    name = match[1].decode(errors="replace") if match else ""
    name = re.sub(r"^WIN(?=\d)", "cp", name)
    name = {"KOI8R": "koi8-r", "KOI8U": "koi8-u"}.get(name, name)
    try:
        return "utf-8" if name == "SQL_ASCII" else codecs.lookup(name).name
    except LookupError:
        return "utf-8"
