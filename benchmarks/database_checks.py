"""Check dumps and restored databases, decoded and compared without code of this package."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from demo import fingerprint

from benchmarks.measure import Argv, Pipeline, RunFailed
from benchmarks.server import KeptServer


class DumpCheck:
    """Compares archives with the database through the SQL script that they produce.

    ``pg_restore`` turns an archive into the script that a plain ``pg_dump`` writes (PostgreSQL docs,
    "pg_restore", ``--file``): archives of any compression are compared by one digest.
    """

    def __init__(self, server: KeptServer, name: str, env: Mapping[str, str]) -> None:
        # What pg_restore leaves unread after the last row is read too, so that its decoder comes to its end.
        program = f"'{server.bin_dir}/pg_restore' \"$@\" && cat > /dev/null"
        self._pg_restore = ("sh", "-c", program, "pg_restore")
        self._server, self._name, self._env = server, name, env
        plain = (server.bin_dir / "pg_dump", f"--dbname={server.url(name)}")
        self._script = _digest([plain, _WITHOUT_KEY], env)

    @cached_property
    def _rows(self) -> RowsCheck:
        return RowsCheck(self._server, self._name)

    def check(self, archive: Sequence[Argv]) -> None:
        """Check the archive that a pipeline writes to stdout. Raises ``RunFailed``."""
        script = _digest([*archive, (*self._pg_restore, "--file=-"), _WITHOUT_KEY], self._env)
        if script != self._script:
            raise RunFailed("A dump is not the database that was dumped.")

    def check_archives(self, archives: Sequence[Pipeline]) -> None:
        """Check a dump in several archives, the main one first. Raises ``RunFailed``.

        Their scripts have the rows in another order, so they are restored into a database beside the other.
        """
        if len(archives) == 1:
            return self.check(archives[0])
        beside, main = f"{self._name}_beside", archives[0]
        self._server.drop_database(beside)  # of a run that was cut short
        self._server.create_database(beside)
        self._restore(main, beside, "--section=pre-data")
        for archive in archives[1:]:
            self._restore(archive, beside, "--section=data")
        self._restore(main, beside, "--section=data", "--section=post-data")
        self._rows.check(beside)
        return self._server.drop_database(beside)

    def _restore(self, archive: Pipeline, name: str, *sections: str) -> None:
        target = f"--dbname={self._server.url(name)}"
        _digest([*archive, (*self._pg_restore, "--exit-on-error", *sections, target)], self._env)


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
