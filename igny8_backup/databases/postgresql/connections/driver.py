"""Open sessions with the driver that Django uses: psycopg 3 or psycopg2.

If both are installed, Django uses psycopg 3, and so does this module. :func:`connect` opens a session;
:func:`is_option` and :func:`libpq_values` call libpq without a server. No module but this one and those of
the two kinds of sessions imports a driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from igny8_backup.databases.postgresql.connections.driver_session import converted_errors
from igny8_backup.databases.postgresql.connections.installed import uses_psycopg3
from igny8_backup.databases.postgresql.connections.psycopg2_session import Psycopg2Session
from igny8_backup.databases.postgresql.connections.psycopg3_session import Psycopg3Session
from igny8_backup.databases.quoting import conninfo
from igny8_backup.databases.session import Session, from_driver


def connect(parameters: Mapping[str, object]) -> Session:
    """Open a session with these connection parameters of libpq. Raises ``DriverError``."""
    return Psycopg3Session(parameters) if uses_psycopg3() else Psycopg2Session(parameters)


def is_option(key: str) -> bool:
    """Return whether ``key`` is a parameter of libpq. Other keys in ``OPTIONS`` are for the driver."""
    dsn = conninfo({key: "x"})
    try:
        if uses_psycopg3():
            from psycopg.conninfo import conninfo_to_dict

            conninfo_to_dict(dsn)
        else:
            from psycopg2.extensions import parse_dsn

            parse_dsn(dsn)
    except Exception as error:
        if from_driver(error):
            return False
        raise
    return True


def libpq_values(parameters: Mapping[str, object]) -> tuple[str, str]:
    """Return the parameters ``dbname`` and ``options`` with which libpq would connect.

    They may come from a service file or an environment variable. The database need not exist, because nothing
    is sent to its server. Raises ``DriverError``.
    """
    # libpq resolves the parameters when a connection begins. With this address it needs no name resolution.
    parameters = {**parameters, "host": "localhost", "hostaddr": "127.0.0.1", "port": "1"}
    with converted_errors():
        if not uses_psycopg3():
            import psycopg2

            with closing(psycopg2.connect(conninfo(parameters), async_=1)) as begun:
                return str(begun.info.dbname), str(begun.info.options or "")

        from psycopg import OperationalError, pq

        attempt = pq.PGconn.connect_start(conninfo(parameters).encode())
        try:
            if attempt.db:
                return attempt.db.decode(), attempt.options.decode()
            raise OperationalError(attempt.error_message.decode(errors="replace"))
        finally:
            attempt.finish()
