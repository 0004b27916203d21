"""Check dumps and restored databases, decoded and compared without code of this package."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo import fingerprint

from benchmarks.measure import Argv, RunFailed
from benchmarks.server import KeptServer


class DumpCheck:
    """Compares archives with the database through the SQL script that they produce.

    ``pg_restore`` turns an archive into the script that a plain ``pg_dump`` writes (PostgreSQL docs,
    "pg_restore", ``--file``): archives of any compression are compared by one digest.
    """

    def __init__(self, bin_dir: Path, env: Mapping[str, str], dsn: str) -> None:
        # What pg_restore leaves unread after the last row is read too, so that its decoder comes to its end.
        self._to_script = ("sh", "-c", f"'{bin_dir}/pg_restore' --file=- && cat > /dev/null")
        self._env = env
        self._script = _digest([(bin_dir / "pg_dump", f"--dbname={dsn}"), _WITHOUT_KEY], env)

    def check(self, archive: Sequence[Argv]) -> None:
        """Check the archive that a pipeline writes to stdout. Raises ``RunFailed``."""
        script = _digest([*archive, self._to_script, _WITHOUT_KEY], self._env)
        if script != self._script:
            raise RunFailed("A dump is not the database that was dumped.")


# pg_dump and pg_restore put a random key into scripts, against injection by an older server.
_WITHOUT_KEY = ("grep", "-av", r"^\\\(un\)\?restrict ")


def _digest(pipeline: Sequence[Argv], env: Mapping[str, str]) -> str:
    """Return the SHA-256 of the output of the pipeline; every program must succeed."""
    processes: list[subprocess.Popen[bytes]] = []
    for argv in [*pipeline, ("sha256sum",)]:
        before = processes[-1].stdout if processes else None
        processes.append(
            subprocess.Popen(
                argv,
                stdin=before or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**env, "LC_ALL": "C"},
            )
        )
        if before:
            before.close()
    digest = processes[-1].communicate()[0].decode().split()[0]
    for process in processes[:-1]:
        if process.wait():
            said = process.stderr.read().decode(errors="replace") if process.stderr else ""
            raise RunFailed(f"{process.args!r} ended with {process.returncode}: {said[-500:]}")
    return digest


class RowsCheck:
    """Compares a restored database with the original: the count and hash of rows, and every object."""

    def __init__(self, server: KeptServer, name: str) -> None:
        self._server = server
        self._name = name
        self._before = self._now()

    def check(self, name: str = "") -> None:
        """Raise ``RunFailed`` if the database differs, or ``name``, which was restored beside it."""
        if lines := fingerprint.differences(self._before, self._now(name)):
            raise RunFailed("The restored database differs:\n" + "\n".join(lines[:10]))

    def _now(self, name: str = "") -> dict[str, Any]:
        with self._server.connect(name or self._name) as connection:
            return fingerprint.of_database(connection)
