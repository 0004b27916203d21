"""Where a drill restores databases, and with which role: the SQL of the dump must not reach the live one."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from demo.server import SUPERUSER, PostgresServer

from igny8_backup.operations.keys.keygen import make_signing_key
from tests.management.commands import Command, Done, run_many
from tests.operations.forging import HARM
from tests.services.project import Project, create, drop

MATCHES = "matches what was backed up"


class Drilled:
    """A project with a signed and an unsigned backup, whose dump changes the live database if it may."""

    def __init__(self, project: Project, scratch: Path) -> None:
        self.project = project
        project.sql(HARM.format(name=project.database))
        # Root drills as another user, who must be able to enter this folder.
        project.environment["IGNY8_BACKUP_SCRATCH_DIR"] = str(scratch)
        self.scratch = scratch
        key = project.home / "signing-key"
        self.trusting: dict[str, Any] = {"TRUSTED": [make_signing_key(key)]}
        signing = {"SIGNING": {"KEY_FILE": str(key)}}
        made = run_many(project, Command(["backup_db", "--json"], signing), ["backup_db", "--json"])
        self.signed, self.unsigned = (done.ended(0).json["manifest"]["id"] for done in made)

    def drill(
        self,
        *argv: str,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        words = ["drill_backup", *argv, "--identity", str(self.project.identity)]
        (done,) = run_many(self.project, Command(words, settings or {}), env=env)
        return done

    def url(self, user: str, password: str, port: int = 0) -> dict[str, str]:
        """The environment in which the project connects as another role, or to another port."""
        server = self.project.server
        place = f"{server.host}:{port or server.port}/{self.project.database}"
        return {"DATABASE_URL": f"postgresql://{user}:{quote(password, safe='')}@{place}"}

    @property
    def superuser(self) -> dict[str, str]:
        return self.url(SUPERUSER, self.project.server.superuser_password)

    def assert_clean(self) -> None:
        """Check that nothing of a drill is left, and that the live database was not commented on."""
        project = self.project
        assert project.databases() == [project.database]
        assert list(self.scratch.iterdir()) == []
        with project.server.connect(superuser=True) as session:
            roles = session.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^igny8_drill'").fetchall()
            comment = session.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
                [project.database],
            ).fetchone()
        assert (roles, comment) == ([], (None,))


@pytest.fixture(scope="module")
def drilled(postgres_15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drilled]:
    project = create(postgres_15, tmp_path_factory.mktemp("places"))
    scratch = Path(tempfile.mkdtemp(prefix="igny8-power-", dir="/tmp"))
    scratch.chmod(0o711)
    yield Drilled(project, scratch)
    drop(project)
    shutil.rmtree(scratch)


@pytest.mark.slow
def test_own_server_restores_what_nobody_has_signed(drilled: Drilled) -> None:
    untrusted = [drilled.unsigned, "--accept-unsigned"]
    refused = drilled.drill(*untrusted, settings=drilled.trusting)
    assert "may change the live database" in refused.ended(4).stderr and "--own-server" in refused.stderr
    done = drilled.drill(*untrusted, "--own-server", settings=drilled.trusting)
    assert MATCHES in done.ended(0).stdout, done.stderr
    drilled.assert_clean()


@pytest.mark.slow
def test_own_server_of_killed_drill_is_stopped_by_the_next(drilled: Drilled) -> None:
    project = drilled.project
    words = ["drill_backup", drilled.signed, "--own-server", "--identity", project.identity]
    with project.start(*words) as process:
        while not any("ready to accept" in log.read_text() for log in drilled.scratch.glob("*/s/log")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        (file,) = drilled.scratch.glob("*/data/postmaster.pid")
        pid = file.read_text().split()[0]
        process.kill()
    assert Path(f"/proc/{pid}").exists()
    assert MATCHES in drilled.drill(drilled.signed, "--own-server").ended(0).stdout
    assert not Path(f"/proc/{pid}").exists()
    drilled.assert_clean()


@pytest.mark.slow
def test_drill_setting_names_the_server_of_drills(drilled: Drilled, postgres_16: PostgresServer) -> None:
    server = {
        "HOST": postgres_16.host,
        "PORT": postgres_16.port,
        "USER": postgres_16.role,
        "PASSWORD": postgres_16.password,
    }
    bin_dir = {"CLIENT_BIN_DIR": str(postgres_16.bin_dir)}
    # The server of DATABASES does not answer, so the drill cannot have used it.
    nowhere = drilled.url(drilled.project.server.role, "", port=1)
    done = drilled.drill(drilled.signed, settings={"DRILL": server, **bin_dir}, env=nowhere)
    assert MATCHES in done.ended(0).stdout, done.stderr
    assert "role of the application" not in done.stderr
    drilled.assert_clean()


@pytest.mark.slow
def test_role_that_may_create_roles_drills_with_another_one(drilled: Drilled) -> None:
    untrusted = [drilled.unsigned, "--accept-unsigned"]
    done = drilled.drill(*untrusted, settings=drilled.trusting, env=drilled.superuser)
    assert MATCHES in done.ended(0).stdout, done.stderr
    assert "with a role that was made for it" in done.stderr
    drilled.assert_clean()


@pytest.mark.slow
def test_role_and_database_of_killed_drill_are_dropped_by_the_next(drilled: Drilled) -> None:
    project = drilled.project
    drilled.drill(drilled.signed, env=drilled.superuser).ended(0)
    (path,) = (project.state / "drill").glob("*.look")  # the digest in the names of the project's drills
    role, database = (
        f"igny8_drill_{path.stem}_20200101T000000Z",
        f"{project.database}__drill_20200101T000000Z",
    )
    with project.server.connect(superuser=True) as session:
        session.execute(f"CREATE ROLE {role} LOGIN CREATEDB".encode())
        session.execute(f'CREATE DATABASE "{database}" OWNER {role}'.encode())
    drilled.drill(drilled.signed, env=drilled.superuser).ended(0)
    drilled.assert_clean()


@pytest.mark.slow
def test_drill_that_needs_a_superuser_falls_back_to_the_role_of_the_application(drilled: Drilled) -> None:
    project = drilled.project
    with project.server.connect(project.database, superuser=True) as session:
        session.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    try:
        (made,) = run_many(project, ["backup_db", "--json"], env=drilled.superuser)
        backup_id = made.ended(0).json["manifest"]["id"]
        done = drilled.drill(backup_id, env=drilled.superuser)
        assert "The role that was made for the drill could not restore the dump" in done.stderr
        assert "may change the live database" in done.stderr
        assert "live databases changed: 'default' (comment)" in done.ended(6).stderr
        untrusted = [backup_id, "--accept-unsigned"]
        refused = drilled.drill(*untrusted, settings=drilled.trusting, env=drilled.superuser)
        assert "must be superuser" in refused.ended(1).stderr, "no other role for an untrusted backup"
    finally:
        with project.server.connect(project.database, superuser=True) as session:
            session.execute("DROP PUBLICATION everything")
            session.execute(f"COMMENT ON DATABASE {project.database} IS NULL".encode())
