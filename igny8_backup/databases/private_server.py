"""Run a PostgreSQL server for one drill: without network, with a private socket, removed afterwards.

The server is started from installed server binaries. A forged dump that is restored there cannot reach other
databases. Programs that such a dump starts run as the user of the server, which is never root.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.databases.postgresql.clients import (
    Client,
    client_at,
    installed_folders,
    major_of,
    server_package_of,
)
from igny8_backup.databases.values import ServerAccess
from igny8_backup.errors import FilesError, ToolError, ToolMissingError, ToolTooOldError
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams.account import Account, find_account, is_root
from igny8_backup.streams.process import run_process

ACCOUNTS = ("postgres", "nobody")
"""Users for the server of a drill.

If this process is root and ``RESTORE_USER`` is not set, the server runs as the first of them that exists.
"""
PROGRAMS = ("initdb", "pg_ctl", "postgres")
NEWEST_MAJOR = 30
SOCKET_PATH_LIMIT = 103  # bytes; Linux takes 107, macOS 103
STOP_SECONDS = 60
_SUPERUSER, _ROLE = "igny8_drill_superuser", "igny8_drill"
_PORT = "5432"  # part of the name of the socket; the server does not listen on the network
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "1GB",
    "timezone": "UTC",
}


_ENCODING = ("--encoding=UTF8", "--no-locale", "--no-sync")


@dataclass(frozen=True)
class PrivateServer:
    """How to connect to a running server, as its superuser and as the unprivileged ``role`` of the drill."""

    superuser: ServerAccess
    role: ServerAccess


def find_server(part: DatabasePart, bin_dir: Path | None) -> Path:
    """Return the folder with the programs of a server on which a dump can be restored.

    ``part`` is the entry of the dump in the manifest. If ``bin_dir``, the setting ``CLIENT_BIN_DIR``, is set,
    only this folder is considered. Otherwise the folder is that of the major version of the dump, or else of
    the next later version that is installed, or else that of the ``initdb`` in ``PATH``. Raises
    ``ToolTooOldError`` if the only server is older than the dump, ``ToolMissingError`` if there is none, and
    ``ToolError`` if its version is unknown.
    """
    major = max(major_of(part.server_version), major_of(part.dump_version))
    found = [folder for number in range(major, NEWEST_MAJOR) for folder in installed_folders(number)]
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve().parent] if on_path else []
    for folder in [bin_dir] if bin_dir else found:
        if all((folder / program).is_file() for program in PROGRAMS):
            _require_server(client_at(folder / "postgres"), major)
            return folder
    raise ToolMissingError(
        f"There is no PostgreSQL server of version {major} or later on this machine.",
        unchanged="Nothing was changed.",
        hint=f"Install {server_package_of(major)}, or drill without --own-server.",
    )


def _require_server(server: Client, major: int) -> None:
    if server.major < major:
        raise ToolTooOldError(
            f"{server.path} is version {server.version}, and the dump needs {major} or later.",
            unchanged="Nothing was changed.",
            hint=f"Install {server_package_of(major)}, or drill without --own-server.",
        )


@contextmanager
def private_server(bin_dir: Path, folder: Path, user: str = "") -> Iterator[PrivateServer]:
    """Start a server with the programs in ``bin_dir`` and its data in the new folder ``folder``.

    If this process is root, the server runs as ``user``; without ``user``, as one of :data:`ACCOUNTS`. The
    server is stopped and its data are removed when the context ends. If this process is killed before, the
    server keeps running until a later process calls :func:`stop_forgotten`. Raises ``FilesError``,
    ``ToolError``.
    """
    account = _account(user)
    with ExitStack() as stack:
        _make_folders(folder, account)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        data, sockets = folder / "data", folder / "s"
        if len(os.fsencode(sockets / f".s.PGSQL.{_PORT}")) > SOCKET_PATH_LIMIT:
            sockets = Path(tempfile.mkdtemp(prefix="igny8-drill-"))
            stack.callback(shutil.rmtree, sockets, ignore_errors=True)
            _own(sockets, account)
        env = {**client_environment(), "TZ": "UTC"}

        def run(program: str, *words: str) -> None:
            run_process([str(bin_dir / program), *words], env=env, run_as=account)

        # Whoever may enter the folder of the socket may connect: nobody but root and the user of the server.
        run("initdb", f"--pgdata={data}", f"--username={_SUPERUSER}", "--auth=trust", *_ENCODING)
        settings = {**_SETTINGS, "unix_socket_directories": str(sockets), "port": _PORT}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        stack.callback(_stop, bin_dir, data, account)
        run(
            "pg_ctl",
            "start",
            "--wait",
            f"--pgdata={data}",
            f"--log={sockets / 'log'}",
            f"--options={options}",
        )
        yield PrivateServer(
            superuser=ServerAccess(user=_SUPERUSER, host=str(sockets), port=_PORT),
            role=ServerAccess(user=_ROLE, host=str(sockets), port=_PORT),
        )


def stop_forgotten(folder: Path) -> None:
    """Stop the server whose data are in ``folder``, if a killed drill has left it running."""
    data = folder / "data"
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        # The number may belong to another process by now. A server works in the folder of its data.
        if os.path.realpath(f"/proc/{pid}/cwd") != str(data.resolve()):
            return
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + STOP_SECONDS
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    except (OSError, ValueError, IndexError):
        return


def _account(user: str) -> Account | None:
    if not is_root():
        return None
    for name in (user,) if user else ACCOUNTS:
        if account := find_account(name):
            return account
    raise FilesError(
        f"PostgreSQL refuses to run as root, and there is no user {user or ' or '.join(ACCOUNTS)}.",
        unchanged="Nothing was changed.",
        hint="Set IGNY8_BACKUP['RESTORE_USER'] to an unprivileged user of this machine.",
    )


def _make_folders(folder: Path, account: Account | None) -> None:
    """Create the folder of the server, with subfolders for data and socket that belong to ``account``."""
    try:
        folder.mkdir(mode=0o700)
        os.chmod(folder, 0o711 if account else 0o700)
        for name in ("data", "s"):
            (folder / name).mkdir(mode=0o700)
            _own(folder / name, account)
        reachable = account is None or account.may_enter(folder)
    except OSError as error:
        raise FilesError(
            f"The folder {folder} for the server of the drill cannot be created: {error.strerror}.",
            unchanged="Nothing was changed.",
            hint="Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder that this user can write to.",
        ) from None
    if account and not reachable:
        shutil.rmtree(folder)
        raise FilesError(
            f"The user {account.name}, which runs the server of the drill, may not enter {folder.parent}.",
            unchanged="Nothing was changed.",
            hint="Set IGNY8_BACKUP['SCRATCH_DIR'] to a folder that this user may enter, or run the drill as"
            " an ordinary user.",
        )


def _own(folder: Path, account: Account | None) -> None:
    if account:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def _stop(bin_dir: Path, data: Path, account: Account | None) -> None:
    """Stop the server at once, without saving its data, which will be removed."""
    try:
        argv = [str(bin_dir / "pg_ctl"), "stop", "--wait", "--mode=immediate", f"--pgdata={data}"]
        run_process(argv, env=client_environment(), run_as=account)
    except ToolError:
        stop_forgotten(data.parent)
