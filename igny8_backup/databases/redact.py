"""Remove the values of rows from messages of PostgreSQL's programs, drivers and migrations.

If a COPY, an index or a constraint fails, the server reports the values concerned: in the fields DETAIL and
CONTEXT, and at the end of the message itself (PostgreSQL docs, "Error and Notice Message Fields"). This
package sends error messages to logs, mails and pings, so it removes the values; names of tables, columns and
constraints stay. Servers report in their own language, so fields are recognised by their layout. Passwords
and other secrets are removed by ``operations.notify.redact``.

Two kinds of values cannot be recognised and stay: a value that is quoted like a name (``time zone "..." not
recognized``), and the text of an error that a function in the database raises.
"""

from __future__ import annotations

import re

from igny8_backup.streams.stderr_tail import CUT

HIDDEN = "********"
"""The text that replaces each value."""

# The beginning of a field, such as "DETAIL:  " in any language, or of a message of a PostgreSQL program.
_PART = re.compile(r"^(?=[^\W\d_]+ ?:  |(?:pg_restore|pg_dump|psql):|Command was: )", re.MULTILINE)
# The end of the text after a cut that cannot be assigned to a field: the next line that begins a message.
_MESSAGE = re.compile(r"\n(?=(?:pg_restore|pg_dump|psql):|(?:ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|LOG):  )")
_FIELD = re.compile(r"([^\W\d_]+) ?:  (.*)", re.DOTALL)
_FIELDS_WITHOUT_VALUES = {"ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "INFO", "LOG", "HINT"}
# "Key (email)=(a@example.org) already exists."
_KEY = re.compile(r"(.*?\)=\().*(\).*)", re.DOTALL)
# "COPY people, line 3, column age: ..."; "PL/pgSQL function check_age() line 2 at RAISE"
_CONTEXT = re.compile(r'COPY [^,:]+, \w+ \d+(?:, \w+ [^\s:"»„«]+)?|PL/pgSQL \w+ \S+ \w+ \d+ \w+ [\w ]+')
# 'invalid input syntax for type integer: "..."', 'value "..." is out of range for type integer'
_QUOTED_END = re.compile(r': ["»„«].*', re.DOTALL)
_QUOTED_VALUE = re.compile(r'\bvalue "(?:.*"|.*)', re.DOTALL)
# "LINE 1: UPDATE people SET ...", in any language, and the line with a caret below it.
_STATEMENT = re.compile(r"^(?:[^\W\d_]+ \d+ ?: .*(?:\n *\^ *$)?|.*\n *\^ *$)\n?", re.MULTILINE)


def without_values(message: str) -> str:
    """Return ``message`` without values of rows and without the statement that failed.

    ``message`` is the stderr of ``pg_restore`` or ``psql``, or the text of a database driver's exception. It
    must have its original line breaks.
    """
    head, cut, tail = message.partition(CUT)
    *parts, last = _PART.split(head)
    text = "".join(map(_redact_part, parts)) + _redact_part(last, cut=bool(cut))
    if not cut:
        return text
    begin = _MESSAGE.search(tail)
    return text + CUT + (without_values(tail[begin.end() :]) if begin else "")


def _redact_part(part: str, *, cut: bool = False) -> str:
    """Remove the values from one field or message. ``cut``: the end of ``part`` is missing."""
    end = "\n" if part.endswith("\n") else ""
    field = _FIELD.match(part)
    if field is None or field[1] in _FIELDS_WITHOUT_VALUES:
        text = _QUOTED_END.sub(f": {HIDDEN}{end}", _STATEMENT.sub("", part))
        return _QUOTED_VALUE.sub(f'value "{HIDDEN}"', text)
    if key := _KEY.match(field[2]):
        return f"{field[1]}:  {key[1]}{HIDDEN}{'' if cut else key[2]}"
    places = [place[0] for line in field[2].splitlines() if (place := _CONTEXT.match(line))]
    return f"{field[1]}:  {'; '.join(places) or HIDDEN}{end}"
