"""The operating system's account that a PostgreSQL server runs under.

PostgreSQL refuses to run as root. Root therefore starts it as another account, which must be able to reach
the data and to run the programs.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """``user`` and ``group`` are None where the server runs as whoever we are."""

    user: int | None = None
    group: int | None = None

    @property
    def switch(self) -> dict[str, Any]:
        """The arguments of ``subprocess`` that start a program under this account."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give the path, and all below it, to this account."""
        if self.user is None or self.group is None:
            return
        for folder, _, files in os.walk(path):
            for name in ("", *files):
                os.chown(os.path.join(folder, name), self.user, self.group, follow_symlinks=False)

    def can_run(self, program: Path) -> bool:
        """Tell whether the program starts: its folder may be closed to this account (a venv below /root)."""
        try:
            done = subprocess.run(
                [program, "--version"],
                capture_output=True,
                cwd="/",
                env=ENVIRONMENT,
                timeout=60,
                **self.switch,
            )
        except OSError:
            return False
        return done.returncode == 0


# What the server and its tools see of our environment: no PG*, no DATABASE_URL, no locale of the shell.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def server_account() -> Account:
    """Return the account for a server: our own, or an unprivileged one when we are root."""
    if os.geteuid() != 0:
        return Account()
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise RuntimeError("PostgreSQL does not run as root, and there is no account postgres or nobody.")


def private_folder(prefix: str) -> Path:
    """Make a new folder, mode 0700, that the server's account can reach: below the system's temporary one.

    A short path on purpose: the name of a unix socket may have 107 bytes at most.
    """
    return Path(tempfile.mkdtemp(prefix=prefix, dir=None if os.geteuid() else "/tmp"))


def runnable(bin_dir: Path, account: Account, copy_to: Path) -> Path:
    """Return a folder of programs that the account can run: the given one, or one in a copy of it all."""
    if account.can_run(bin_dir / "initdb"):
        return bin_dir
    installation = bin_dir.parent
    package = installation.parent
    shutil.copytree(installation, copy_to / package.name / installation.name, symlinks=True)
    # A wheel keeps the libraries beside the package; the programs look for them by a relative path.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy_to / libraries.name, symlinks=True)
    account.own(copy_to)
    copied = copy_to / package.name / installation.name / bin_dir.name
    if not account.can_run(copied / "initdb"):
        raise RuntimeError(f"The PostgreSQL in {bin_dir} does not start, nor does a copy of it.")
    return copied
