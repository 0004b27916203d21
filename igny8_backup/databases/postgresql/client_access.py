"""How a client program is told where to connect, without a secret in its arguments or environment.

Facts go in ``PG*`` variables (PostgreSQL docs, 34.15), the password in a private passfile (34.16). The rest
of our environment, which may hold the password as ``DATABASE_URL``, is not passed on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import conninfo

from igny8_backup.databases.postgresql.connection import Connection
from igny8_backup.errors import DatabaseError, FilesError
from igny8_backup.streams.pipeline import from_bytes, write_file
from igny8_backup.streams.private_file import private_file

_OPTIONS = {option.keyword.decode(): option for option in psycopg.pq.Conninfo.get_defaults()}
_VARIABLES = {key: option.envvar.decode() for key, option in _OPTIONS.items() if option.envvar}
_SECRETS = {key for key, option in _OPTIONS.items() if option.dispchar == b"*"} | {
    "scram_client_key",
    "scram_server_key",
}
# Not ours to tell: pg_dump takes the encoding of the database, and the name of the program is our own.
_NOT_PASSED = {"client_encoding", "application_name", "fallback_application_name", "password", "passfile"}

# What is passed on of our environment: programs and their libraries, TLS and Kerberos, and what libpq reads.
_KEPT = {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "PGSERVICEFILE", "PGSYSCONFDIR"}
_KEPT |= set(_VARIABLES.values()) - {"PGPASSWORD", "PGCLIENTENCODING"}
_KEPT_PREFIXES = ("LD_", "DYLD_", "SSL_", "OPENSSL_", "KRB5", "GSS")


@dataclass(frozen=True, kw_only=True)
class Access:
    """What brings a client program to a database: its environment, its arguments, descriptors to pass on."""

    env: dict[str, str]
    arguments: tuple[str, ...]
    pass_fds: tuple[int, ...] = ()


@contextmanager
def client_access(connection: Connection, scratch: Path) -> Iterator[Access]:
    """The access to ``connection``; the passfile lasts as long as the context, without a name on Linux.

    Raises :class:`FilesError` when ``scratch`` cannot be used, :class:`DatabaseError` for a secret that no
    passfile can hold.
    """
    env = client_environment()
    explicit = {"dbname": connection.name}
    # A service file wins over variables; only the command line wins over it.
    service = connection.params.get("service") or env.get("PGSERVICE")
    for key, value in connection.params.items():
        if key in _NOT_PASSED or key == "dbname":
            continue
        if key in _SECRETS:
            raise DatabaseError(
                f"OPTIONS[{key!r}] of {connection.alias!r} is a secret that client programs take only in the"
                " open.",
                unchanged="Nothing was read or written.",
                hint="Use a password, or a client key without a passphrase in a file of mode 0600.",
            )
        if service or key not in _VARIABLES:
            explicit[key] = value
        else:
            env[_VARIABLES[key]] = value
    role = (f"--role={connection.role}",) if connection.role else ()
    password = connection.params.get("password") or os.environ.get("PGPASSWORD")
    if not password:
        if passfile := connection.params.get("passfile"):
            explicit["passfile"] = passfile
        yield Access(env=env, arguments=(_dbname(explicit), *role, "--no-password"))
        return
    if "\n" in password or "\r" in password:
        raise DatabaseError(
            f"The password of {connection.where} has a line break, which no passfile can hold.",
            unchanged="Nothing was read or written.",
            hint="Give the role another password.",
        )
    line = "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"
    with private_file(scratch) as (file, path):
        try:
            write_file(from_bytes(line.encode()), file.fileno(), name="it")
        except FilesError as error:
            raise FilesError(
                f"The password of {connection.where} cannot be kept in {scratch}: {error}",
                unchanged="Nothing was changed.",
                hint="Make room there, or point IGNY8_BACKUP['SCRATCH_DIR'] at another disk.",
            ) from None
        yield Access(
            env=env,
            arguments=(_dbname({**explicit, "passfile": path}), *role, "--no-password"),
            pass_fds=(file.fileno(),),
        )


def client_environment() -> dict[str, str]:
    """Our environment without what a client program has no need of; its messages are in English."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT or key.startswith(_KEPT_PREFIXES)}
    return {**kept, "LC_ALL": "C", "PGAPPNAME": "igny8_backup"}


def _dbname(explicit: dict[str, str]) -> str:
    return f"--dbname={conninfo.make_conninfo(**explicit)}"
