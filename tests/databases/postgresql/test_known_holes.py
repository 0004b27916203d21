"""Which releases of PostgreSQL's programs have known security holes, and what to upgrade to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.postgresql.known_holes import HOLES, SERVER, judge_version, vulnerable_clients

CRAFTED_ARCHIVE, CRAFTED_DUMP = "CVE-2026-116314", "CVE-2026-18408"
OUTPUT = ("CVE-2025-8714", "CVE-2025-8715")
STATISTICS = "CVE-2026-16238"


@pytest.mark.parametrize(
    ("program", "version", "cves"),
    [
        ("pg_restore", "18.7", ()),
        ("pg_restore", "18.6", (CRAFTED_ARCHIVE,)),
        ("pg_restore", "17.12", ()),
        ("pg_restore", "17.11", (CRAFTED_ARCHIVE,)),
        ("pg_restore", "17.5", (CRAFTED_ARCHIVE, *OUTPUT)),
        ("pg_restore", "16.16", ()),
        ("pg_restore", "16.9", (CRAFTED_ARCHIVE, *OUTPUT)),
        ("pg_restore", "15.20", ()),
        ("pg_restore", "15.18", (CRAFTED_ARCHIVE,)),
        ("pg_restore", "15.13", (CRAFTED_ARCHIVE, *OUTPUT)),
        ("pg_restore", "14.23", (CRAFTED_ARCHIVE, *OUTPUT)),
        ("pg_restore", "19.0", ()),
        ("pg_restore", "18beta1", (CRAFTED_ARCHIVE,)),
        ("psql", "15.19", ()),
        ("psql", "15.18", (CRAFTED_DUMP,)),
        ("psql", "18.5", (CRAFTED_DUMP,)),
        ("pg_dump", "18.0", ()),
        ("pg_dump", "16.9", OUTPUT),
        (SERVER, "18.6", ()),
        (SERVER, "18.5", (STATISTICS,)),
        (SERVER, "17.0", ()),
    ],
)
def test_judge_version_names_the_holes_of_a_release(
    program: str, version: str, cves: tuple[str, ...]
) -> None:
    found = judge_version(program, version)
    assert (found.cves if found else ()) == cves


def test_judge_version_names_the_first_release_without_any_hole() -> None:
    found = judge_version("pg_restore", "17.2", "/usr/bin/pg_restore")
    assert found and found.fixed_in == "17.12"
    assert found.text.startswith("/usr/bin/pg_restore is version 17.2, which has known security holes:")
    assert "postgresql-client-17" in found.remedy and "17.12 or later" in found.remedy


def test_judge_version_of_a_release_without_updates_names_a_later_one() -> None:
    found = judge_version("pg_restore", "14.23")
    assert found and found.fixed_in == "15.20" and "postgresql-client-15" in found.remedy


@given(program=st.sampled_from(sorted({name for hole in HOLES for name in hole.programs})), data=st.data())
def test_judge_version_later_minor_release_never_has_more_holes(program: str, data: st.DataObject) -> None:
    major = data.draw(st.integers(10, 20))
    older, newer = sorted(data.draw(st.lists(st.integers(0, 30), min_size=2, max_size=2)))
    holes = [judge_version(program, f"{major}.{minor}") for minor in (older, newer)]
    before, after = (set(found.cves) if found else set() for found in holes)
    assert after <= before
    if holes[0]:  # the release that is named has no holes itself
        assert judge_version(program, holes[0].fixed_in) is None


def test_vulnerable_clients_reads_the_version_that_the_program_prints(tmp_path: Path) -> None:
    for name, version in (("pg_restore", "15.18 (Debian 15.18-0+deb12u1)"), ("psql", "15.20")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) {version}"\n')
        program.chmod(0o755)
    programs = ["pg_restore", "psql", "pg_dump"]  # the last is missing, which others report
    (found,) = vulnerable_clients(programs, server_major=15, bin_dir=tmp_path)
    assert (found.program, found.version, found.path) == ("pg_restore", "15.18", str(tmp_path / "pg_restore"))
