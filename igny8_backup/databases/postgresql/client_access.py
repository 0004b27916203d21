"""Let a client program such as ``pg_dump`` connect, without a secret in its arguments or environment.

The program receives connection parameters in ``PG*`` variables (PostgreSQL docs, 34.15) and the password in a
private passfile (34.16). It inherits few other variables: ``DATABASE_URL``, for example, may contain the
password.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.quoting import conninfo
from igny8_backup.errors import DatabaseError
from igny8_backup.streams.account import Account
from igny8_backup.streams.private_file import private_file

# The connection parameters that libpq also reads from an environment variable (PostgreSQL docs, 34.15). With
# few exceptions the variable is named like the parameter, with the prefix PG. Other parameters become
# arguments.
_WITH_VARIABLE = """
    service host hostaddr port dbname user password passfile application_name client_encoding options
    connect_timeout target_session_attrs load_balance_hosts requirepeer require_auth channel_binding
    min_protocol_version max_protocol_version
    sslmode sslnegotiation sslcompression sslcert sslkey sslcertmode sslrootcert sslcrl sslcrldir sslsni
    ssl_min_protocol_version ssl_max_protocol_version gssencmode krbsrvname gsslib gssdelegation"""
_VARIABLES = {key: "PG" + key.replace("_", "").upper() for key in _WITH_VARIABLE.split()} | {
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "dbname": "PGDATABASE",
    "application_name": "PGAPPNAME",
}
_SECRETS = {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
# pg_dump uses the encoding of the database, and client_environment() names the program.
_NOT_PASSED = {"client_encoding", "application_name", "fallback_application_name", "password", "passfile"}

# With other values of these settings, which a role or database may have, the server would end the session of
# a program that waits, refuse to let it write, load code into it, or read a dump differently (dumps do not
# set these themselves). The options change them in the sessions of the program only.
_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "default_transaction_read_only=off",
        "statement_timeout=0",
        "lock_timeout=0",
        "idle_in_transaction_session_timeout=0",
        "idle_session_timeout=0",
        "local_preload_libraries=",
        "array_nulls=on",
        "transform_null_equals=off",
        r"default_transaction_isolation=read\ committed",
        "default_transaction_deferrable=off",
    )
)

# The variables that a program inherits: those of its libraries, of TLS and Kerberos, and of libpq.
_PASSED = {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "PGSERVICEFILE", "PGSYSCONFDIR"}
_PASSED |= set(_VARIABLES.values()) - {"PGPASSWORD", "PGCLIENTENCODING"}
_PASSED_PREFIXES = ("LD_", "DYLD_", "SSL_", "OPENSSL_", "KRB5", "GSS")


@dataclass(frozen=True, kw_only=True)
class Access:
    """The environment, the arguments and the inherited descriptors with which a client program connects."""

    env: dict[str, str]
    arguments: tuple[str, ...]
    pass_fds: tuple[int, ...] = ()


@contextmanager
def client_access(connection: Connection, scratch: Path, run_as: Account | None = None) -> Iterator[Access]:
    """Yield the environment and arguments with which a client program opens ``connection``.

    Start the program at once, because the password in the passfile may expire. The passfile is in the folder
    ``scratch`` while the context lasts. ``run_as`` is the user that the program will run as; ``None`` means
    the user of this process. Raises :class:`FilesError` if the passfile cannot be written,
    :class:`DatabaseError` for a secret that a passfile cannot contain.
    """
    env = client_environment()
    params = connection.current()
    explicit = {"dbname": connection.name}
    # A service file overrides variables; only the command line overrides a service file.
    service = params.get("service") or env.get("PGSERVICE")
    for key, value in params.items():
        if key in _NOT_PASSED or key == "dbname":
            continue
        if key in _SECRETS:
            raise DatabaseError(
                f"OPTIONS[{key!r}] of {connection.alias!r} is a secret that client programs accept only as an"
                " argument, which other users of this machine can read.",
                unchanged="Nothing was read or written.",
                hint="Use a password, or a client key without a passphrase in a file of mode 0600.",
            )
        if service or key not in _VARIABLES:
            explicit[key] = value
        else:
            env[_VARIABLES[key]] = value
    options = f"{connection.options} {_OPTIONS}".strip()
    if service:
        explicit["options"] = options
    else:
        env["PGOPTIONS"] = options
    role = (f"--role={connection.role}",) if connection.role else ()
    password = params.get("password") or os.environ.get("PGPASSWORD")
    if not password:
        if passfile := params.get("passfile"):
            explicit["passfile"] = passfile
        yield Access(env=env, arguments=(_dbname(explicit), *role, "--no-password"))
        return
    if "\n" in password or "\r" in password:
        raise DatabaseError(
            f"The password of {connection.where} has a line break, which a password file of PostgreSQL"
            " cannot hold.",
            unchanged="Nothing was read or written.",
            hint="Give the role another password.",
        )
    line = "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"
    with private_file(scratch, line.encode(), owner=run_as) as (file, path):
        yield Access(
            env=env,
            arguments=(_dbname({**explicit, "passfile": path}), *role, "--no-password"),
            pass_fds=(file.fileno(),),
        )


def client_environment() -> dict[str, str]:
    """Return the environment of client programs: only variables that they need, and English as language."""
    passed = {
        key: value for key, value in os.environ.items() if key in _PASSED or key.startswith(_PASSED_PREFIXES)
    }
    return {**passed, "LC_ALL": "C", "PGAPPNAME": "igny8_backup"}


def _dbname(explicit: dict[str, str]) -> str:
    return f"--dbname={conninfo(explicit)}"
