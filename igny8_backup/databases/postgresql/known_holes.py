"""Security holes in PostgreSQL's programs and server that a forged dump could use.

Whoever may write to the storage of backups may put a dump there that uses one of these holes. :data:`HOLES`
lists only those that matter when dumps are made, read or restored. Sources: the page of each hole under
https://www.postgresql.org/support/security/ and the release notes of the named minor releases; for
CVE-2026-18408 also Debian's changelog of 15.19.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from igny8_backup.conf import Problem
from igny8_backup.databases.postgresql.clients import find_client, major_of, package_of
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.values import VulnerableProgram
from igny8_backup.errors import BackupError, ToolError

SERVER = "the server"
"""Stands for the server in :attr:`Hole.programs`, beside the names of client programs."""


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A security hole: its CVE number, its ``effect`` as a clause, and the ``programs`` that have it.

    ``fixed_in`` maps each major version that was fixed to its first minor version with the fix. Major
    versions later than all of these never had the hole or were released with the fix. Major versions before
    ``since`` lack the faulty feature, so they do not have the hole either. All other major versions have the
    hole and were never fixed.
    """

    cve: str
    effect: str
    programs: tuple[str, ...]
    fixed_in: Mapping[int, int]
    since: int = 0

    def fix_of(self, version: str) -> tuple[int, int] | None:
        """Return the major and minor version that a program of ``version`` must be upgraded to.

        Returns ``None`` if ``version`` does not have the hole. If its major version was never fixed, the
        result is the first fixed release of the lowest major version that was fixed.
        """
        major, minor = major_of(version), _minor_of(version)
        if major < self.since or major > max(self.fixed_in):
            return None
        if major not in self.fixed_in:
            return min(self.fixed_in.items())
        return (major, self.fixed_in[major]) if minor < self.fixed_in[major] else None


HOLES: tuple[Hole, ...] = (
    Hole(
        cve="CVE-2026-116314",
        effect="a crafted archive runs programs as the user of pg_restore",
        programs=("pg_restore",),
        fixed_in={18: 7, 17: 12, 16: 16, 15: 20},
    ),
    # The releases of August 2026, each the one before the release that fixes the hole above.
    Hole(
        cve="CVE-2026-18408",
        effect="a crafted dump runs programs as the user of psql",
        programs=("psql",),
        fixed_in={18: 6, 17: 11, 16: 15, 15: 19},
    ),
    Hole(
        cve="CVE-2025-8714",
        effect="code in the output of pg_dump runs where it is restored",
        programs=("pg_dump", "pg_restore", "psql"),
        fixed_in={17: 6, 16: 10, 15: 14},
    ),
    Hole(
        cve="CVE-2025-8715",
        effect="code in the output of pg_dump runs where it is restored",
        programs=("pg_dump", "pg_restore", "psql"),
        fixed_in={17: 6, 16: 10, 15: 14},
    ),
    Hole(
        cve="CVE-2026-16238",
        effect="restored statistics run code in the server",
        programs=(SERVER,),
        fixed_in={18: 6},
        since=18,  # the first release that restores statistics
    ),
)


def judge_version(program: str, version: str, path: str = "") -> VulnerableProgram | None:
    """Return the known holes that ``program`` has in ``version``, or ``None`` if it has none.

    ``program`` is ``pg_restore``, ``pg_dump``, ``psql`` or :data:`SERVER`. ``version`` is a text such as
    ``18.4``. ``path`` is the path of the program, for messages.
    """
    found = [(hole, fix) for hole in HOLES if program in hole.programs and (fix := hole.fix_of(version))]
    if not found:
        return None
    major, minor = max(fix for _, fix in found)
    return VulnerableProgram(
        program=program,
        version=version,
        path=path,
        cves=tuple(hole.cve for hole, _ in found),
        effects=tuple(dict.fromkeys(hole.effect for hole, _ in found)),
        fixed_in=f"{major}.{minor}",
        package="PostgreSQL on the server" if program == SERVER else package_of(major),
    )


def vulnerable_clients(
    programs: Iterable[str], *, server_major: int, bin_dir: Path | None
) -> list[VulnerableProgram]:
    """Return those of the client ``programs`` that have known holes.

    The arguments are those of :func:`find_client`. A program that is missing or prints no version is left
    out, because the code that runs the program reports this error.
    """
    found = []
    for program in programs:
        try:
            client = find_client(program, server_major=server_major, bin_dir=bin_dir)
        except ToolError:
            continue
        found.append(judge_version(program, client.version, str(client.path)))
    return [item for item in found if item]


def vulnerable_for_restore(
    live: Connection, bin_dir: Path | None, *, in_place: bool
) -> tuple[VulnerableProgram, ...]:
    """Return the programs with known holes that a restore of ``live`` uses: client programs and its server.

    ``psql`` reads a dump only if it is restored ``in_place``. Raises ``DatabaseError``.
    """
    with live.maintenance() as session:
        server = session.server_version_text
    programs = ["pg_restore", *["psql"] * in_place]
    found = [judge_version(SERVER, server.split()[0])]
    found += vulnerable_clients(programs, server_major=major_of(server), bin_dir=bin_dir)
    return tuple(item for item in found if item)


def program_problems(live: Connection, bin_dir: Path | None) -> list[Problem]:
    """Return a warning (W022) for each program with known holes that dumps or restores ``live``."""
    try:
        found = vulnerable_for_restore(live, bin_dir, in_place=True)
        with live.maintenance() as session:
            major = session.server_version // 10000
    except BackupError:
        return []  # reported by the other checks of the same server
    found += tuple(vulnerable_clients(["pg_dump"], server_major=major, bin_dir=bin_dir))
    return [
        Problem(
            id="igny8_backup.W022",
            message=f"{item.text} This matters for the database {live.alias!r}.",
            hint=item.remedy,
        )
        for item in found
    ]


def _minor_of(version: str) -> int:
    """Return the minor version: 4 for ``18.4``; -1 for ``18beta1``, which is older than the first release."""
    match = re.match(r"\d+\.(\d+)", version)
    return int(match[1]) if match else -1
