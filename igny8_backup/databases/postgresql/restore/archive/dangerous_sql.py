"""Find SQL that reaches beyond the restored database: programs, native code, settings of the server.

The dump of an application rarely contains such SQL. An attacker can hide it, for example in a string that a
DO block executes. So this search is no substitute for a signature, or for an unprivileged role that restores
the dump.
"""

from __future__ import annotations

import re

# A language whose name ends with "u" is untrusted by convention: its functions may use files and programs of
# the server (PostgreSQL docs, "CREATE LANGUAGE").
_UNTRUSTED = rb"(?:c|internal|plr|plsh|\w+u)"
# Comments may be nested. Every pattern takes time in proportion to the text: an attacker may make that long.
_COMMENTS = re.compile(rb"/\*.*?(?:\*/|\Z)|\*/|--[^\n]*", re.DOTALL)
_PATTERNS = (
    # In a query, a table called "program" is never followed by a string.
    ("COPY ... PROGRAM", re.compile(rb"\b(?:FROM|TO)\s+PROGRAM\s*(?:E|U&)?['$]", re.IGNORECASE)),
    ("ALTER SYSTEM", re.compile(rb"\bALTER\s+SYSTEM\b", re.IGNORECASE)),
    (
        "an untrusted language",
        re.compile(
            rb"\bLANGUAGE\s+['\"]?" + _UNTRUSTED + rb"\b"
            rb"|\bEXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?['\"]?(?:plr|plsh|pl\w+u)\b",
            re.IGNORECASE,
        ),
    ),
)


def find_dangers(*texts: bytes) -> tuple[str, ...]:
    """Return the kinds of dangerous SQL in the statements ``texts``, such as ``COPY ... PROGRAM``.

    Comments are ignored, but text in quotes and function bodies is searched too.
    """
    found = []
    for text in texts:
        # Comments hide nothing: whatever is dangerous with or without them is found.
        for searched in dict.fromkeys((text, _COMMENTS.sub(b" ", text))):
            found += [name for name, pattern in _PATTERNS if pattern.search(searched)]
    return tuple(dict.fromkeys(found))
