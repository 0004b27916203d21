"""RESTORE_USER: as root, the programs that read a dump run as another user, and still restore everything."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer

from tests.management.commands import Command, Done, run_many
from tests.services.project import Project, create, drop

USER = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Only root may run programs as another user.")


class Logged:
    """A project whose PostgreSQL programs write the name of their user into a file."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project
        self.log = folder / "log"
        self.log.touch()
        self.log.chmod(0o666)
        for name in ("pg_dump", "pg_restore", "psql"):
            program = folder / name
            real, log = shlex.quote(str(project.server.bin_dir / name)), shlex.quote(str(self.log))
            program.write_text(f'#!/bin/sh\necho "{name} $1 $(id -u)" >> {log}\nexec {real} "$@"\n')
            program.chmod(0o755)
        self.settings: dict[str, Any] = {"CLIENT_BIN_DIR": str(folder), "RESTORE_USER": USER}
        (made,) = run_many(project, Command(["backup_db"], self.settings))
        made.ended(0)

    def run(self, *argv: str | Path, settings: dict[str, Any] | None = None) -> Done:
        self.log.write_text("")
        words = [*argv, "--identity", self.project.identity]
        (done,) = run_many(self.project, Command(words, {**self.settings, **(settings or {})}))
        return done

    def users(self, *programs: str) -> set[str]:
        """Return the ids of the users that ran ``programs``, apart from queries of their versions."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return {line[-1] for line in lines if line[0] in programs and line[1] not in ("--version", "--list")}


@pytest.fixture(scope="module")
def logged(postgres_15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    project = create(postgres_15, tmp_path_factory.mktemp("user"))
    project.seed_small()
    folder = Path(tempfile.mkdtemp(prefix="igny8-power-user-", dir="/tmp"))
    folder.chmod(0o755)
    yield Logged(project, folder)
    drop(project)
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_restore_user_runs_pg_restore_of_drill_and_restore(logged: Logged, jobs: int) -> None:
    nobody = {str(pwd.getpwnam(USER).pw_uid)}
    drilled = logged.run("drill_backup", settings={"JOBS": jobs})
    assert "matches what was backed up" in drilled.ended(0).stdout
    assert logged.users("pg_restore") == nobody
    verified = logged.run("verify_backup", "--depth", "content")
    assert "no damage" in verified.ended(0).stdout and logged.users("pg_restore") == nobody


@pytest.mark.slow
def test_restore_user_runs_both_programs_of_a_restore_in_place(logged: Logged) -> None:
    named = ["--only", "db", "--noinput", "--database-name", logged.project.database]
    done = logged.run("restore_all", "--in-place", *named)
    assert "Restored in place" in done.ended(0).stdout, done.stderr
    assert logged.users("pg_restore", "psql") == {str(pwd.getpwnam(USER).pw_uid)}
    assert logged.users("pg_dump") == {"0"}, "the safety backup is made as root"


def test_unknown_restore_user_is_a_wrong_setting(logged: Logged) -> None:
    done = logged.run("drill_backup", settings={"RESTORE_USER": "no-such-user"})
    assert "'no-such-user', and this machine has no such user" in done.ended(2).stderr
