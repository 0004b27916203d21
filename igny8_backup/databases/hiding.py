"""Rows of the data kept out of what PostgreSQL's programs and drivers say.

A failing COPY, index or constraint is reported with the values that it failed on: in the fields DETAIL and
CONTEXT, and at the end of the message itself (PostgreSQL docs, 55.8). Messages of ours go to logs, mails and
pings. The names of tables, columns and constraints stay. The words of a server are in its own language, so
what tells the fields apart is how they are written.
"""

from __future__ import annotations

import re

HIDDEN = "********"

# "DETAIL:  ", in whatever language; or a line that begins with the name of a program of PostgreSQL's.
_PART = re.compile(r"^(?=[^\W\d_]+ ?:  |(?:pg_restore|pg_dump|psql):|Command was: )", re.MULTILINE)
_FIELD = re.compile(r"([^\W\d_]+) ?:  (.*)", re.DOTALL)
_OPEN = {"ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "INFO", "LOG", "HINT"}
# "Key (email)=(a@example.org) already exists."
_KEY = re.compile(r"(.*?\)=\().*(\).*)", re.DOTALL)
# "COPY people, line 3, column age: ..."; "PL/pgSQL function check_age() line 2 at RAISE"
_PLACE = re.compile(r'COPY [^,:]+, \w+ \d+(?:, \w+ [^\s:"»„«]+)?|PL/pgSQL \w+ \S+ \w+ \d+ \w+ [\w ]+')
# 'invalid input syntax for type integer: "..."', 'value "..." is out of range for type integer'
_TOLD = re.compile(r': ["»„«].*', re.DOTALL)
_VALUE = re.compile(r'\bvalue "[^"]*"')


def without_values(said: str) -> str:
    """``said`` by ``pg_restore``, ``psql``, a driver or a migration, before its lines are joined: without the
    values of rows."""
    return "".join(map(_hidden, _PART.split(said)))


def _hidden(part: str) -> str:
    end = "\n" if part.endswith("\n") else ""
    field = _FIELD.match(part)
    if field is None or field[1] in _OPEN:
        return _VALUE.sub(f'value "{HIDDEN}"', _TOLD.sub(f": {HIDDEN}{end}", part))
    if key := _KEY.match(field[2]):
        return f"{field[1]}:  {key[1]}{HIDDEN}{key[2]}"
    places = [place[0] for line in field[2].splitlines() if (place := _PLACE.match(line))]
    return f"{field[1]}:  {'; '.join(places) or HIDDEN}{end}"
