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
    installed = [Path(pattern.format(major=server_major)) for pattern in _INSTALLED]
    for folder in [bin_dir] if bin_dir else installed:
        path = folder / program
        if path.is_file():
            return _client(path)
    if bin_dir is None and (found := shutil.which(program)):
        return _client(Path(found))
    where = f"in {bin_dir} (IGNY8_BACKUP['CLIENT_BIN_DIR'])" if bin_dir else "on this machine"
    raise ToolMissingError(
        f"There is no {program} {where}.",
        unchanged="Nothing was changed.",
        hint=f"Install {_package(server_major)}, or set IGNY8_BACKUP['CLIENT_BIN_DIR'].",
    )


def require_major(client: Client, needed: int, *, reason: str) -> None:
    """Raise :class:`ToolTooOldError` if ``client`` is older than the major version ``needed``.

    ``reason`` completes the sentence "pg_dump is version 15.1, and ...".
    """
    if client.major < needed:
        raise ToolTooOldError(
            f"{client.path} is version {client.version}, and {reason}.",
            unchanged="Nothing was changed.",
            hint=f"Install {_package(needed)}, or set IGNY8_BACKUP['CLIENT_BIN_DIR'].",
        )


def major_of(version: str) -> int:
    """Return the major version: 18 for ``18.1 (Debian 18.1-1)``, 0 for text that is not a version."""
    match = re.match(r"\d+", version)
    return int(match[0]) if match else 0


def _package(major: int) -> str:
    return f"the PostgreSQL {major} client (Debian and Ubuntu: apt-get install postgresql-client-{major})"


@functools.lru_cache(maxsize=32)
def _version(path: Path, mtime_ns: int) -> str:
    """Return the output of ``path --version``, which is cached.

    ``mtime_ns`` is the file's time of modification: after an update of the program the cache has no entry.
    """
    return run_process([str(path), "--version"], env=client_environment()).decode(errors="replace").strip()


def _client(path: Path) -> Client:
    text = _version(path, path.stat().st_mtime_ns)
    match = _VERSION.search(text)
    if not match:
        raise ToolError(
            f"The version of {path} is unknown: it printed {text[:80]!r}.",
            unchanged="Nothing was changed.",
            hint="Set IGNY8_BACKUP['CLIENT_BIN_DIR'] to a folder with PostgreSQL's own client programs.",
        )
    return Client(path, match["version"], int(match["major"]))
