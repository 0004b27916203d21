"""What a backup may do of which nobody knows who made it: with old programs, powerful roles, native code.

The servers of the package index are 16.14 and 18.4, whose pg_restore runs code of crafted archives. Debian's
15.20 has no known hole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from demo.server import SUPERUSER, PostgresServer

from igny8_backup.operations.keys.keygen import make_signing_key
from tests.management.commands import Command, Done, run_many
from tests.services.project import ALLOW_VULNERABLE, Project, create, drop

HOLE = "CVE-2026-116314"
WARNING = "which has known security holes"


class Stored:
    """A project with one signed and one unsigned backup of its database, and settings that trust the key."""

    def __init__(self, project: Project, statement: str = "") -> None:
        self.project = project
        project.consents = False
        if statement:
            project.sql(statement)
        key = project.home / "signing-key"
        public = make_signing_key(key)
        self.trusting: dict[str, Any] = {"TRUSTED": [public]}
        signing = {"SIGNING": {"KEY_FILE": str(key)}}
        made = run_many(project, Command(["backup_db", "--json"], signing), ["backup_db", "--json"])
        self.signed, self.unsigned = (done.ended(0).json["manifest"]["id"] for done in made)

    def run(self, *argv: str, trusting: bool = False, env: Mapping[str, str] | None = None) -> Done:
        words = [*argv, "--identity", str(self.project.identity)]
        (done,) = run_many(self.project, Command(words, self.trusting if trusting else {}), env=env)
        return done

    @property
    def superuser(self) -> dict[str, str]:
        """The environment in which the project connects as a superuser."""
        server = self.project.server
        password = quote(server.superuser_password, safe="")
        url = f"postgresql://{SUPERUSER}:{password}@{server.host}:{server.port}/{self.project.database}"
        return {"DATABASE_URL": url}

    def restore(self, backup_id: str, *options: str, trusting: bool = False) -> Done:
        named = ["--only", "db", "--noinput", "--database-name", self.project.database]
        return self.run("restore_all", backup_id, *named, *options, trusting=trusting)


@pytest.fixture(scope="module")
def stored(postgres_18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    project = create(postgres_18, tmp_path_factory.mktemp("programs"))
    yield Stored(project)
    drop(project)


@pytest.fixture(scope="module")
def shell(postgres_15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """As ``stored``, on a server without known holes; the database has a function that starts a program."""
    project = create(postgres_15, tmp_path_factory.mktemp("powers"))
    body = "BEGIN COPY (SELECT 1) TO PROGRAM 'cat'; END"
    yield Stored(project, f"CREATE FUNCTION shell() RETURNS void LANGUAGE plpgsql AS $$ {body} $$")
    drop(project)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["restore_all", "extract_backup", "in place"])
def test_restore_of_unknown_origin_with_vulnerable_program_needs_consent(
    stored: Stored, command: str
) -> None:
    before = stored.project.databases()
    if command == "extract_backup":
        words = ["extract_backup", stored.unsigned, "--to-database", f"{stored.project.database}_copy"]
        refused, allowed = stored.run(*words), stored.run(*words, ALLOW_VULNERABLE)
        created = f"Created the database {stored.project.database}_copy"
    else:
        place = ["--in-place"] * (command == "in place")
        refused = stored.restore(stored.unsigned, *place)
        allowed = stored.restore(stored.unsigned, *place, ALLOW_VULNERABLE)
        created = "Restored"
    assert HOLE in refused.ended(2).stderr and ALLOW_VULNERABLE in refused.stderr
    assert "Upgrade the PostgreSQL 18 client" in refused.output
    assert created in allowed.ended(0).stdout and WARNING in allowed.output
    if command == "restore_all":
        run_many(stored.project, ["undo_restore", "--discard", "--noinput"])
    if command == "extract_backup":
        stored.project.server.drop_database(f"{stored.project.database}_copy")
    assert stored.project.databases() == before


@pytest.mark.slow
def test_signed_backup_with_vulnerable_program_is_restored_with_a_warning(stored: Stored) -> None:
    done = stored.restore(stored.signed, trusting=True)
    assert WARNING in done.ended(0).output and HOLE in done.output
    run_many(stored.project, ["undo_restore", "--discard", "--noinput"])


@pytest.mark.slow
def test_accepted_unsigned_backup_with_vulnerable_program_is_refused(stored: Stored) -> None:
    """Where TRUSTED is set, no option allows a vulnerable program for a backup that nobody vouches for."""
    before = stored.project.databases()
    accepted = "--accept-unsigned"
    copy = ["extract_backup", stored.unsigned, "--to-database", "power_never"]
    verify = ["verify_backup", stored.unsigned, "--depth", "content"]
    for done in (
        stored.restore(stored.unsigned, accepted, ALLOW_VULNERABLE, trusting=True),
        stored.restore(stored.unsigned, accepted, ALLOW_VULNERABLE, "--in-place", trusting=True),
        stored.run(*copy, accepted, ALLOW_VULNERABLE, trusting=True),
        stored.run("drill_backup", stored.unsigned, accepted, trusting=True),
        stored.run(*verify, accepted, trusting=True),
    ):
        assert f"No trusted key signed backup {stored.unsigned}" in done.ended(4).stderr, done.argv
        assert HOLE in done.stderr and "Upgrade" in done.stderr
    assert stored.project.databases() == before


@pytest.mark.slow
@pytest.mark.parametrize("argv", [["drill_backup"], ["verify_backup", "--depth", "content"]])
def test_reading_with_vulnerable_program_warns_and_works(stored: Stored, argv: list[str]) -> None:
    done = stored.run(argv[0], stored.unsigned, *argv[1:])
    assert WARNING in done.ended(0).stderr and "Upgrade the PostgreSQL 18 client" in done.stderr


@pytest.mark.slow
def test_check_deploy_names_each_vulnerable_program(stored: Stored) -> None:
    (done,) = run_many(stored.project, ["check", "--deploy", "--tag", "backup"])
    bin_dir: Path = stored.project.server.bin_dir
    for name in ("pg_restore", "psql"):
        assert f"{bin_dir / name} is version" in done.output, done.output
    assert "igny8_backup.W022" in done.output and "the server is version" in done.output


def test_restore_of_files_only_needs_no_consent(stored: Stored) -> None:
    project = stored.project
    (project.uploads / "page").write_text("a page")
    restore = ["restore_all", "--only", "uploads", "--noinput", "--identity", str(project.identity)]
    saved, restored = run_many(project, ["backup_sites"], restore)
    saved.ended(0)
    assert WARNING not in restored.ended(0).output
    run_many(project, ["undo_restore", "--discard", "--noinput"])


@pytest.mark.slow
def test_untrusted_dump_with_dangerous_sql_is_refused(shell: Stored) -> None:
    before = shell.project.databases()
    accepted = [shell.unsigned, "--accept-unsigned"]
    named = ["--only", "db", "--noinput", "--database-name", shell.project.database]
    for argv in (
        ["restore_all", *accepted, *named],
        ["restore_all", *accepted, *named, "--in-place"],
        ["extract_backup", *accepted, "--to-database", "power_never"],
    ):
        done = shell.run(*argv, trusting=True)
        assert "SQL that reaches beyond the database" in done.ended(4).stderr, done.argv
        assert "shell()" in done.stderr and "COPY ... PROGRAM" in done.stderr
    # A drill does not use the role of the application for such a backup: here it makes another one.
    done = shell.run("drill_backup", *accepted, trusting=True, env=shell.superuser)
    assert "SQL that reaches beyond the database" in done.ended(4).stderr
    assert shell.project.databases() == before


@pytest.mark.slow
def test_trusted_dump_with_the_same_sql_is_restored(shell: Stored) -> None:
    assert (
        "matches what was backed up" in shell.run("drill_backup", shell.signed, trusting=True).ended(0).stdout
    )
    assert "matches what was backed up" in shell.run("drill_backup", shell.unsigned).ended(0).stdout


@pytest.mark.slow
def test_untrusted_backup_is_refused_with_a_superuser(shell: Stored) -> None:
    before = shell.project.databases()
    accepted, named = [shell.unsigned, "--accept-unsigned"], ["--database-name", shell.project.database]
    for argv in (
        ["restore_all", *accepted, "--only", "db", "--noinput", *named],
        ["restore_all", *accepted, "--only", "db", "--noinput", "--in-place", *named],
        ["extract_backup", *accepted, "--to-database", "power_never"],
    ):
        done = shell.run(*argv, trusting=True, env=shell.superuser)
        assert f"The role {SUPERUSER} is a superuser" in done.ended(4).stderr, done.argv
        assert 'CREATE ROLE "igny8_restore" LOGIN CREATEDB' in done.stderr
    assert shell.project.databases() == before


@pytest.mark.slow
def test_superuser_is_named_by_plan_and_check_and_restores_what_is_trusted(shell: Stored) -> None:
    plan = ["restore_all", "--only", "db", "--dry-run"]
    for argv, trusting in (([*plan, shell.signed], True), ([*plan, shell.unsigned], False)):
        done = shell.run(*argv, trusting=trusting, env=shell.superuser)
        assert f"NOTE: The role {SUPERUSER} is a superuser" in done.ended(0).stdout
    (checked,) = run_many(shell.project, ["check", "--deploy", "--tag", "backup"], env=shell.superuser)
    assert "igny8_backup.W023" in checked.output
    (ordinary,) = run_many(shell.project, ["check", "--deploy", "--tag", "backup"])
    assert "igny8_backup.W023" not in ordinary.output
