"""Rows of the data kept out of what PostgreSQL's programs and drivers say.

A failing COPY, index or constraint is reported with the values that it failed on: in the fields DETAIL and
CONTEXT, and at the end of the message itself (PostgreSQL docs, 55.8). Messages of ours go to logs, mails and
pings. The names of tables, columns and constraints stay. The words of a server are in its own language, so
what tells the fields apart is how they are written.

What cannot be told apart stays: a message that quotes a value as it would quote a name (``time zone "..." not
recognized``), and what a function says that raises an error of its own.
"""

from __future__ import annotations

import re

from igny8_backup.streams.stderr import CUT

HIDDEN = "********"

# "DETAIL:  ", in whatever language; or a line that begins with the name of a program of PostgreSQL's.
_PART = re.compile(r"^(?=[^\W\d_]+ ?:  |(?:pg_restore|pg_dump|psql):|Command was: )", re.MULTILINE)
# After a cut nobody knows whose words follow, up to a line that begins a message.
_MESSAGE = re.compile(r"\n(?=(?:pg_restore|pg_dump|psql):|(?:ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|LOG):  )")
_FIELD = re.compile(r"([^\W\d_]+) ?:  (.*)", re.DOTALL)
_OPEN = {"ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "INFO", "LOG", "HINT"}
# "Key (email)=(a@example.org) already exists."
_KEY = re.compile(r"(.*?\)=\().*(\).*)", re.DOTALL)
# "COPY people, line 3, column age: ..."; "PL/pgSQL function check_age() line 2 at RAISE"
_PLACE = re.compile(r'COPY [^,:]+, \w+ \d+(?:, \w+ [^\s:"»„«]+)?|PL/pgSQL \w+ \S+ \w+ \d+ \w+ [\w ]+')
# 'invalid input syntax for type integer: "..."', 'value "..." is out of range for type integer'
_TOLD = re.compile(r': ["»„«].*', re.DOTALL)
_VALUE = re.compile(r'\bvalue "(?:.*"|.*)', re.DOTALL)
# "LINE 1: UPDATE people SET ...", in whatever language, and the line with a caret below it.
_STATEMENT = re.compile(r"^(?:[^\W\d_]+ \d+ ?: .*(?:\n *\^ *$)?|.*\n *\^ *$)\n?", re.MULTILINE)


def without_values(said: str) -> str:
    """``said`` by ``pg_restore``, ``psql``, a driver or a migration, before its lines are joined: without the
    values of rows, as far as they can be told from names, and without the statement that failed."""
    whole, cut, rest = said.partition(CUT)
    *parts, last = _PART.split(whole)
    text = "".join(map(_hidden, parts)) + _hidden(last, cut=bool(cut))
    if not cut:
        return text
    begin = _MESSAGE.search(rest)
    return text + CUT + (without_values(rest[begin.end() :]) if begin else "")


def _hidden(part: str, *, cut: bool = False) -> str:
    """``part`` of what was said, perhaps ``cut`` off at its end."""
    end = "\n" if part.endswith("\n") else ""
    field = _FIELD.match(part)
    if field is None or field[1] in _OPEN:
        told = _TOLD.sub(f": {HIDDEN}{end}", _STATEMENT.sub("", part))
        return _VALUE.sub(f'value "{HIDDEN}"', told)
    if key := _KEY.match(field[2]):
        return f"{field[1]}:  {key[1]}{HIDDEN}{'' if cut else key[2]}"
    places = [place[0] for line in field[2].splitlines() if (place := _PLACE.match(line))]
    return f"{field[1]}:  {'; '.join(places) or HIDDEN}{end}"
