"""Change the role of a connection, or its role and server, but not its database name. Drills use this."""

from __future__ import annotations

from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.values import ServerAccess


def with_access(connection: Connection, access: ServerAccess) -> Connection:
    """Return a copy of ``connection`` that connects to the same database name with the role of ``access``.

    If ``access`` names a host, the copy leads to the server on that host. Otherwise it leads to the same
    server as ``connection``.
    """

    def read() -> dict[str, str]:
        kept = {} if access.host else connection.current()
        for key in ("user", "password", "passfile"):
            kept.pop(key, None)
        server = {"host": access.host, "port": access.port} if access.host else {}
        role = {"user": access.user, "password": access.password, "dbname": connection.name}
        merged = {**kept, **access.options, **server, **role}
        return {key: value for key, value in merged.items() if value}

    return Connection(read, alias=connection.alias, password=access.password)
