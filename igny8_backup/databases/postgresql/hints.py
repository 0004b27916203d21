"""Map errors of PostgreSQL, libpq and PgBouncer to hints.

The SQLSTATE of an error selects its hint. Failed connections and messages of client programs have no
SQLSTATE: for these, the English text of the message selects the hint. ``connections.refusal`` finds the
SQLSTATE of a refused connection whose message is not known, for example because it is in another language.
"""

from __future__ import annotations

import re

from igny8_backup.databases.redact import without_values

_TRY = "try it with: python manage.py dbshell --database {alias}."
_GRANT = "As a superuser: GRANT CONNECT ON DATABASE {name} TO {user}; then run again."
_NO_PRIVILEGE = "42501"
_HINTS = (
    # The beginning of SQLSTATEs (PostgreSQL docs, appendix A), a pattern for messages, the hint.
    (
        ("28",),
        r"password authentication failed|no password supplied",
        "Correct USER and PASSWORD in {settings}; " + _TRY,
    ),
    ((), r"permission denied for database", _GRANT),
    (
        ("28000",),
        r"pg_hba\.conf",
        "Add a line for this role and this database to pg_hba.conf on the server, with the authentication"
        " method of its other lines, and reload the server's configuration. Backups and restores also use"
        " the database postgres or template1.",
    ),
    (
        ("53300",),
        r"too many clients already|remaining connection slots|too many connections for|max_client_conn",
        "End idle sessions, or raise max_connections or the limit of the role or the database; then run"
        " again.",
    ),
    (
        ("57P03",),
        r"database system is (starting up|shutting down|in recovery mode|not yet accepting)",
        "Wait until the server is up, then run again.",
    ),
    (
        ("08", "25P03", "25P04", "57P01", "57P02", "57P05"),
        r"server closed the connection|terminating connection|connection to server was lost"
        r"|could not (receive data from|send data to) (the )?server|connection (has been closed|not open)"
        r"|the connection is (closed|lost)",
        "Look in the server's log for why it ended the connection. Run again when the server answers.",
    ),
    ((), r"Connection refused", "Start the server, or correct HOST and PORT in {settings}; " + _TRY),
    ((), r"unsupported startup parameter", "This is a connection pooler: {bypass}"),
    (
        ("22021",),
        r"(?!)",  # in messages of pg_restore it is about rows
        "A name or a comment in this database is not valid UTF-8, which its encoding SQL_ASCII allows. Find"
        " and rename it with psql and PGCLIENTENCODING=SQL_ASCII; then run again.",
    ),
    (
        (),
        r"index row size \d+ exceeds|index row requires \d+ bytes",
        "A value is too long for its index, probably because this server compresses it less than the one that"
        " was dumped: ALTER ROLE ... SET default_toast_compression = 'pglz'; then run again.",
    ),
    (
        ("3D000",),
        r'database ".+" does not exist|no such database',
        "Create it, or correct NAME in {settings}; " + _TRY,
    ),
)


def hint_for(message: str, *, alias: str, name: str = "", user: str = "", sqlstate: str = "") -> str:
    """Return the hint for an error, or an empty string for an unknown error.

    ``message`` is used if ``sqlstate`` is empty. ``name`` and ``user`` are the database and the role, quoted
    as in SQL.
    """
    for codes, pattern, hint in _HINTS:
        if sqlstate.startswith(codes) if sqlstate else re.search(pattern, message):
            settings = f"DATABASES[{alias!r}] (for backups also DBBACKUP_CONNECTORS)"
            return hint.format(
                settings=settings, alias=alias, name=name, user=user, bypass=pooler_hint(alias)
            )
    return ""


def connection_hint(message: str, *, alias: str, name: str, user: str, sqlstate: str = "") -> str:
    """Return the hint for a failed connection.

    If ``sqlstate`` says that a privilege is missing, the hint is the GRANT that gives it. Otherwise
    :func:`hint_for` finds the hint, for ``message`` or else for ``sqlstate``. If it finds none, the hint is a
    general one.
    """
    general = (
        f"Check that the server runs and accepts connections, or correct DATABASES[{alias!r}]; "
        + _TRY.format(alias=alias)
    )
    if sqlstate == _NO_PRIVILEGE:
        return _GRANT.format(name=name, user=user)
    known = hint_for(message, alias=alias, name=name, user=user)
    known = known or (sqlstate and hint_for("", alias=alias, name=name, user=user, sqlstate=sqlstate))
    return known or general


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
