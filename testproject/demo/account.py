"""The account of the operating system that a PostgreSQL server runs as.

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
    """``user`` and ``group`` are ``None`` if the server runs as the current user."""

    user: int | None = None
    group: int | None = None

    @property
    def switch(self) -> dict[str, Any]:
        """Return the arguments of ``subprocess`` that run a program as this account."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Make this account the owner of the path and everything below it."""
        if self.user is None or self.group is None:
            return
        for folder, _, files in os.walk(path):
            for name in ("", *files):
                os.chown(os.path.join(folder, name), self.user, self.group, follow_symlinks=False)

    def can_run(self, program: Path) -> bool:
        """Return whether the account can run the program, which may be in a closed folder (a venv in
        /root)."""
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
    """Return the account for a server: the current user, or an unprivileged user instead of root."""
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
    """Create a folder of mode 0700 in the temporary folder of the system, where the server's account can
    enter.

    A short path on purpose: the name of a unix socket may have 107 bytes at most.
    """
    return Path(tempfile.mkdtemp(prefix=prefix, dir=None if os.geteuid() else "/tmp"))


def runnable(bin_dir: Path, account: Account, copy_to: Path) -> Path:
    """Return a folder of programs that the account can run: the given one, or that in a copy."""
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
