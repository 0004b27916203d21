"""Map error messages of PostgreSQL, libpq and PgBouncer to hints.

A failed connection has no error code in libpq, so the text of the message selects the hint. A message in
another language than English gets a general hint.
"""

from __future__ import annotations

import re

from igny8_backup.databases.redact import without_values

_TRY = "try it with: python manage.py dbshell --database {alias}."
_GRANT = "As a superuser: GRANT CONNECT ON DATABASE {name} TO {user}; then run again."
_HINTS = (
    (
        r"password authentication failed|no password supplied",
        "Correct USER and PASSWORD in {settings}; " + _TRY,
    ),
    (r"permission denied for database", _GRANT),
    (
        r"too many clients already|remaining connection slots|too many connections for|max_client_conn",
        "End idle sessions, or raise max_connections or the limit of the role or the database; then run"
        " again.",
    ),
    (
        r"database system is (starting up|shutting down|in recovery mode|not yet accepting)",
        "Wait until the server is up, then run again.",
    ),
    (
        r"server closed the connection|terminating connection|connection to server was lost"
        r"|could not (receive data from|send data to) (the )?server|connection (has been closed|not open)"
        r"|the connection is (closed|lost)",
        "Look in the server's log for why it ended the connection. Run again when the server answers.",
    ),
    (r"Connection refused", "Start the server, or correct HOST and PORT in {settings}; " + _TRY),
    (r"unsupported startup parameter", "This is a connection pooler: {bypass}"),
    (r'database ".+" does not exist|no such database', "Create it, or correct NAME in {settings}; " + _TRY),
)


def hint_for(message: str, *, alias: str, name: str = "", user: str = "") -> str:
    """Return the hint for ``message``, or an empty string for an unknown message.

    ``name`` and ``user`` are the database and the role, quoted as in SQL.
    """
    for pattern, hint in _HINTS:
        if re.search(pattern, message):
            settings = f"DATABASES[{alias!r}] (for backups also DBBACKUP_CONNECTORS)"
            return hint.format(
                settings=settings, alias=alias, name=name, user=user, bypass=pooler_hint(alias)
            )
    return ""


def connection_hint(message: str, *, alias: str, name: str, user: str) -> str:
    """Return the hint for a failed connection: that of :func:`hint_for`, or else a general one."""
    general = f"Start the server, or correct DATABASES[{alias!r}]; " + _TRY.format(alias=alias)
    return hint_for(message, alias=alias, name=name, user=user) or general


def pooler_hint(alias: str) -> str:
    """Return an instruction, as the end of a sentence, to let backups of ``alias`` bypass a pooler."""
    return (
        "name the server itself for backups:"
        f" DBBACKUP_CONNECTORS = {{{alias!r}: {{'HOST': '...', 'PORT': '5432'}}}}."
    )


def one_line(message: str) -> str:
    """Return a program's error message on one line, with a full stop and without values of rows."""
    text = " ".join(without_values(message).split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
