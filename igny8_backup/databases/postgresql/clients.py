"""Find PostgreSQL's client programs, and refuse those of an unsuitable version.

If the setting ``CLIENT_BIN_DIR`` names a folder, only that folder is searched. Otherwise the folders in which
packages install the server's major version are searched first, then ``PATH``: a newer ``pg_restore`` may send
statements that an older server does not know.
"""

from __future__ import annotations

import functools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.databases.postgresql.client_access import client_environment
from igny8_backup.errors import ToolError, ToolMissingError, ToolTooOldError
from igny8_backup.streams.process import run_process

_INSTALLED = (
    "/usr/lib/postgresql/{major}/bin",
    "/usr/pgsql-{major}/bin",
    "/usr/libexec/postgresql{major}",
    "/opt/homebrew/opt/postgresql@{major}/bin",
    "/usr/local/opt/postgresql@{major}/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (?P<version>(?P<major>\d+)\S*)")


@dataclass(frozen=True)
class Client:
    """An installed client program: its path, version (``18.1``) and major version (18)."""

    path: Path
    version: str
    major: int


def find_client(program: str, *, server_major: int, bin_dir: Path | None) -> Client:
    """Find ``program`` (``pg_dump``, ``pg_restore`` or ``psql``), preferably of the version ``server_major``.

    ``bin_dir`` is the setting ``CLIENT_BIN_DIR``. Raises :class:`ToolMissingError` if the program is not
    installed, :class:`ToolError` if it does not print its version.
    """
    for folder in [bin_dir] if bin_dir else installed_folders(server_major):
        path = folder / program
        if path.is_file():
            return client_at(path)
    if bin_dir is None and (found := shutil.which(program)):
        return client_at(Path(found))
    where = f"in {bin_dir} (IGNY8_BACKUP['CLIENT_BIN_DIR'])" if bin_dir else "on this machine"
    raise ToolMissingError(
        f"There is no {program} {where}.",
        unchanged="Nothing was changed.",
        hint=f"Install {package_of(server_major)}, or set IGNY8_BACKUP['CLIENT_BIN_DIR'].",
    )


def installed_folders(major: int) -> list[Path]:
    """Return the folders in which packages install the programs of a major version; they need not exist."""
    return [Path(pattern.format(major=major)) for pattern in _INSTALLED]


def require_major(client: Client, needed: int, *, reason: str) -> None:
    """Raise :class:`ToolTooOldError` if ``client`` is older than the major version ``needed``.

    ``reason`` completes the sentence "pg_dump is version 15.1, and ...".
    """
    if client.major < needed:
        raise ToolTooOldError(
            f"{client.path} is version {client.version}, and {reason}.",
            unchanged="Nothing was changed.",
            hint=f"Install {package_of(needed)}, or set IGNY8_BACKUP['CLIENT_BIN_DIR'].",
        )


def major_of(version: str) -> int:
    """Return the major version: 18 for ``18.1 (Debian 18.1-1)``, 0 for text that is not a version."""
    match = re.match(r"\d+", version)
    return int(match[0]) if match else 0


def package_of(major: int) -> str:
    """Return the name of the package with the client programs of a major version, for hints."""
    return f"the PostgreSQL {major} client (Debian and Ubuntu: apt-get install postgresql-client-{major})"


def server_package_of(major: int) -> str:
    """Return the name of the package with the server of a major version, for hints."""
    return f"the PostgreSQL {major} server (Debian and Ubuntu: apt-get install postgresql-{major})"


@functools.lru_cache(maxsize=32)
def _version(path: Path, mtime_ns: int) -> str:
    """Return the output of ``path --version``, which is cached.

    ``mtime_ns`` is the modification time of the file. It is part of the cache's key, so that an updated
    program is run again.
    """
    return run_process([str(path), "--version"], env=client_environment()).decode(errors="replace").strip()


def client_at(path: Path) -> Client:
    """Return the program ``path`` with its version. Raises :class:`ToolError` if it does not print one."""
    text = _version(path, path.stat().st_mtime_ns)
    match = _VERSION.search(text)
    if not match:
        raise ToolError(
            f"The version of {path} is unknown: it printed {text[:80]!r}.",
            unchanged="Nothing was changed.",
            hint="Set IGNY8_BACKUP['CLIENT_BIN_DIR'] to a folder with PostgreSQL's own programs.",
        )
    return Client(path, match["version"], int(match["major"]))
