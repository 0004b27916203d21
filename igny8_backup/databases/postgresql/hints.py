"""The way out of what a server, or a pooler before it, refuses: known by its words.

libpq tells no error code for a connection that was not made, so its words are all there is. A server that
speaks another language than English (``lc_messages``) gets the general advice.
"""

from __future__ import annotations

import re

from igny8_backup.databases.redact import without_values

_TRY = "try it with: python manage.py dbshell --database {alias}."
_GRANT = "As a superuser: GRANT CONNECT ON DATABASE {name} TO {user}; then run again."
_KNOWN = (
    (
        r"password authentication failed|no password supplied",
        "Correct USER and PASSWORD in {settings}; " + _TRY,
    ),
    (r"permission denied for database", _GRANT),
    (
        r"too many clients already|remaining connection slots|too many connections for|max_client_conn",
        "End sessions that idle, or allow more (max_connections, or the limit of the role or the database);"
        " then run again.",
    ),
    (
        r"database system is (starting up|shutting down|in recovery mode|not yet accepting)",
        "Wait until the server is up, then run again.",
    ),
    (
        r"server closed the connection|terminating connection|connection to server was lost"
        r"|could not (receive data from|send data to) (the )?server|connection (has been closed|not open)"
        r"|the connection is (closed|lost)",
        "See in the server's log why it ended the connection; when it answers, run again.",
    ),
    (r"Connection refused", "Start the server, or correct HOST and PORT in {settings}; " + _TRY),
    (r"unsupported startup parameter", "A connection pooler stands there; {direct}"),
    (r'database ".+" does not exist|no such database', "Create it, or correct NAME in {settings}; " + _TRY),
)


def hint_for(said: str, *, alias: str, name: str = "", user: str = "") -> str:
    """What to do about what the server ``said`` to ``user`` in the database ``name``, both quoted as in SQL;
    empty where its words are not known."""
    for words, hint in _KNOWN:
        if re.search(words, said):
            settings = f"DATABASES[{alias!r}] (for backups also DBBACKUP_CONNECTORS)"
            return hint.format(settings=settings, alias=alias, name=name, user=user, direct=direct(alias))
    return ""


def unreachable(said: str, *, alias: str, name: str, user: str) -> str:
    """The way out for a connection that was not made, whatever was said."""
    general = f"Start the server, or correct DATABASES[{alias!r}]; " + _TRY.format(alias=alias)
    return hint_for(said, alias=alias, name=name, user=user) or general


def direct(alias: str) -> str:
    """How backups get past a pooler."""
    return (
        "name the server itself for backups:"
        f" DBBACKUP_CONNECTORS = {{{alias!r}: {{'HOST': '...', 'PORT': '5432'}}}}."
    )


def one_line(said: str) -> str:
    """What a program said, as one sentence, without the values of rows."""
    text = " ".join(without_values(said).split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
