"""Databases that cannot be backed up, as the deployment checks find them on real servers."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from demo.installed import installed
from demo.server import PostgresServer

from igny8_backup.conf import Config, Problem
from igny8_backup.errors import ToolError
from igny8_backup.operations import deploy_checks
from igny8_backup.operations.context import BackupContext
from igny8_backup.schedules import hourly_schedule
from tests.bad_input.database import pgbouncer
from tests.databases.conftest import make_stage, stage  # noqa: F401  (fixtures)
from tests.databases.stage import Stage, configured
from tests.management.commands import run_many
from tests.operations.conftest import context, trees  # noqa: F401  (fixtures)
from tests.services import unavailable
from tests.services.project import Project

CHECK = ["check", "--deploy", "--tag", "backup"]


@dataclass(frozen=True)
class Asked:
    """The database of a stage, and the settings for its backup."""

    stage: Stage
    config: Config

    def __call__(
        self, bin_dir: Path | None = None, /, connector: dict[str, str] | None = None, **changed: Any
    ) -> list[Problem]:
        """The problems found with the clients in ``bin_dir`` and changed settings of the connection.

        ``connector`` changes the connection for backups only. The known security holes (W022) of the test
        servers are left out.
        """
        config = replace(self.config, client_bin_dir=bin_dir or self.stage.bin_dir)
        alias = self.stage.alias
        with configured(alias, self.stage.settings(**changed)), pytest.MonkeyPatch.context() as patch:
            patch.setattr("dbbackup.settings.CONNECTORS", {alias: connector or {}})
            found = deploy_checks.unfit_databases(config)
        return [problem for problem in found if problem.id != "igny8_backup.W022"]


@pytest.fixture
def asked(stage: Stage, context: BackupContext) -> Asked:  # noqa: F811 - a fixture
    return Asked(stage, replace(context.config, databases=(stage.alias,)))


def only(problems: list[Problem], number: str) -> Problem:
    (problem,) = problems
    assert problem.id == f"igny8_backup.{number}", problem
    return problem


@pytest.mark.postgres(16, 18)
def test_unfit_databases_old_client_is_reported(asked: Asked, pg: PostgresServer) -> None:
    assert asked() == []
    if (older := installed(15)) is None:
        unavailable("PostgreSQL 15 is not installed.")
    problem = only(asked(older), "E041")
    assert f"{older}/pg_dump is version 15" in problem.message
    assert f"the server of 'stage' is version {pg.major}" in problem.message
    assert f"apt-get install postgresql-client-{pg.major}" in problem.hint


def test_unfit_databases_missing_client_is_reported(asked: Asked, tmp_path: Path) -> None:
    problem = only(asked(tmp_path), "E041")
    assert f"There is no pg_dump in {tmp_path}" in problem.message and "Install" in problem.hint


@pytest.fixture(scope="module")
def pooler(postgres_18: PostgresServer) -> Iterator[int]:
    with pgbouncer(postgres_18) as port:
        yield port


def test_unfit_databases_pgbouncer_is_reported(asked: Asked, pooler: int) -> None:
    problem = only(asked(PORT=str(pooler)), "E041")
    assert "is a connection pooler (PgBouncer or similar)" in problem.message
    assert "DBBACKUP_CONNECTORS" in problem.hint


def test_unfit_databases_wrong_exclusion_is_reported(asked: Asked) -> None:
    asked = replace(asked, config=replace(asked.config, exclude_table_data={"stage": ("nothing",)}))
    problem = only(asked(), "E041")
    assert "names 'nothing', which is not a table" in problem.message and "Correct the name" in problem.hint


def test_unfit_databases_unreachable_server_is_reported(asked: Asked) -> None:
    with socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        problem = only(asked(PORT=str(bound.getsockname()[1])), "W007")
    assert "could not be checked. No connection" in problem.message and "Start the server" in problem.hint


RULES = "ALTER TABLE item ENABLE ROW LEVEL SECURITY, {} FORCE ROW LEVEL SECURITY"
PARTITIONED = """
    CREATE TABLE log (id bigint) PARTITION BY RANGE (id);
    CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (1) TO (9);
    ALTER TABLE log ENABLE ROW LEVEL SECURITY;"""


@pytest.mark.postgres(15, 18)
def test_unfit_databases_row_level_security_agrees_with_pg_dump(asked: Asked) -> None:
    stage = asked.stage  # noqa: F811 - the fixture's
    reader = stage.make_role("reader", "LOGIN IN ROLE pg_read_all_data")

    def hidden_from(role: str, *excluded: str) -> bool:
        config = replace(asked.config, exclude_table_data={"stage": excluded})
        found = replace(asked, config=config)(connector=as_role(role))
        engine = stage.engine_with(**as_role(role))
        try:
            list(engine.dump(engine.describe(excluded)))
        except ToolError as error:
            assert "row-level security" in str(error)
            assert only(found, "E042").message.endswith(f"rows from the role {role}: public.item.")
            return True
        assert found == []
        return False

    def as_role(role: str) -> dict[str, str]:
        secret = stage.server.superuser_password if role == "postgres" else stage.server.password
        return {"USER": role, "PASSWORD": secret}

    owner = stage.role
    stage.sql(PARTITIONED)  # pg_dump reads the partitions, which have policies of their own
    assert not hidden_from(reader)
    stage.sql(RULES.format("NO"))
    assert [hidden_from(role) for role in (owner, reader, "postgres")] == [False, True, False]
    stage.sql(RULES.format(""))
    assert [hidden_from(role) for role in (owner, reader, "postgres")] == [True, True, False]
    assert not hidden_from(reader, "item", "part")
    (command,) = re.findall("`(.*)`", only(asked(connector=as_role(reader)), "E042").hint)
    stage.admin(command)
    assert not hidden_from(reader)


SECLUDED = """
    CREATE SCHEMA "Own Room";
    CREATE TABLE "Own Room".diary (id bigint);
    CREATE SCHEMA emptied;
    CREATE TABLE shown (id bigint) PARTITION BY LIST (id);
    CREATE TABLE unshown PARTITION OF shown FOR VALUES IN (1);
    CREATE VIEW items AS TABLE item;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM item;
    CREATE TABLE brought (id bigserial);
    GRANT SELECT ON item, part, shown, "Own Room".diary TO {0};
    REVOKE ALL ON SCHEMA public FROM public; GRANT USAGE ON SCHEMA public TO {0};"""
# A table that belongs to an extension: its definition is restored with the extension.
BROUGHT = "ALTER EXTENSION plpgsql ADD TABLE brought; ALTER EXTENSION plpgsql ADD SEQUENCE brought_id_seq"


@pytest.mark.postgres(15, 18)
def test_unfit_databases_missing_permissions_agree_with_pg_dump(asked: Asked) -> None:
    stage = asked.stage  # noqa: F811 - the fixture's
    reader = stage.make_role("reader", "LOGIN")
    stage.sql(SECLUDED.format(reader))
    stage.sql(BROUGHT, superuser=True)
    as_reader = {"USER": reader, "PASSWORD": stage.server.password}

    def unread(*excluded: str) -> str:
        """What the role may not read according to the check; a dump fails exactly if that is not empty."""
        config = replace(asked.config, exclude_table_data={"stage": excluded})
        found = replace(asked, config=config)(connector=as_reader)
        engine = stage.engine_with(**as_reader)
        try:
            list(engine.dump(engine.describe(excluded)))
        except ToolError as error:
            assert "permission denied" in str(error) or "lack SELECT" in str(error), error
            (said,) = re.findall(f"The role {reader} may not read (.*)[.]", only(found, "E042").message)
            return str(said)
        assert found == []
        return ""

    def let(what: str, *, superuser: bool = False) -> None:
        stage.sql(f"GRANT {what} TO {reader}", superuser=superuser)

    sequence = "sequence public.item_id_seq"
    assert unread() == f'schema "Own Room", {sequence}, table public.unshown'
    let('USAGE ON SCHEMA "Own Room"')
    assert unread() == f"{sequence}, table public.unshown"
    assert unread("unshown") == f"{sequence}, table public.unshown"
    let("SELECT ON unshown")
    assert unread() == unread("item", "part") == sequence
    let("USAGE ON SEQUENCE item_id_seq")
    assert unread() == sequence
    let("SELECT ON SEQUENCE item_id_seq")
    assert unread() == ""
    stage.sql(f"REVOKE SELECT ON part FROM {reader}")
    assert unread() == "table public.part"
    (command,) = re.findall("`(.*)`", only(asked(connector=as_reader), "E042").hint)
    stage.admin(command)
    assert unread() == ""


def test_unfit_databases_hidden_rows_advise_no_right_for_the_application(asked: Asked) -> None:
    """With BYPASSRLS the application would see the rows of all tenants."""
    asked.stage.sql(RULES.format(""))
    hint = only(asked(), "E042").hint
    assert "ALTER ROLE" not in hint and "GRANT" not in hint
    (command,) = re.findall("`(.*)`", hint)
    assert command.startswith("CREATE ROLE igny8_backup ") and "DBBACKUP_CONNECTORS" in hint


@pytest.mark.postgres(15, 18)
def test_unfit_databases_connection_limits_are_reported(asked: Asked, settings: Any) -> None:
    stage = asked.stage  # noqa: F811 - the fixture's
    role = stage.make_role("few", "LOGIN CONNECTION LIMIT 2 IN ROLE pg_read_all_data")
    secret = {"USER": role, "PASSWORD": stage.server.password}
    problem = only(asked(connector=secret), "E043")
    assert f"The role {role} may open 2 sessions at once" in problem.message
    stage.admin(problem.hint.replace(" 3;", " 9;"))
    assert asked(connector=secret) == []
    stage.admin(f"ALTER ROLE {role} CONNECTION LIMIT 3")
    assert asked(connector=secret) == []
    yielding = replace(asked, config=replace(asked.config, yield_after=10))
    assert " 4 are needed" in only(yielding(connector=secret), "E043").message
    settings.CELERY_BEAT_SCHEDULE = hourly_schedule()
    stage.admin(only(asked(connector=secret), "E043").hint)
    assert asked(connector=secret) == []
    several = replace(asked, config=replace(asked.config, dump_jobs=3))
    problem = only(several(connector=secret), "E043")
    assert "dumped over fewer than 3 connections (DUMP_JOBS)" in problem.message
    assert " 6 are needed" in problem.message, "lock, exporter, three of pg_dump, and one that looks"
    chunked = replace(several, config=replace(several.config, chunked_dumps=(stage.alias,)))
    assert " 5 are needed" in only(chunked(connector=secret), "E043").message, "at most two of pg_dump"
    stage.admin(problem.hint)
    assert several(connector=secret) == []
    stage.wait_until_unused()
    stage.admin(f"ALTER DATABASE {stage.name} CONNECTION LIMIT 4")
    assert " 5 are needed" in only(several(connector=secret), "E043").message
    stage.wait_until_unused()
    stage.admin(f"ALTER DATABASE {stage.name} CONNECTION LIMIT 1")
    problem = only(asked(connector=secret), "E043")
    assert f"The database {stage.name} accepts 1 sessions at once" in problem.message
    assert problem.hint.startswith(f'ALTER DATABASE "{stage.name}" CONNECTION LIMIT ')
    assert "not be backed up completely" in only(several(connector=secret), "E043").message


@pytest.mark.postgres(15, 18)
def test_unfit_databases_role_that_could_not_restore_is_reported(asked: Asked) -> None:
    stage = asked.stage  # noqa: F811 - the fixture's
    role = stage.make_role("poor", "LOGIN IN ROLE pg_read_all_data")
    found = asked(USER=role)
    assert [problem.id for problem in found] == ["igny8_backup.W011"] * 2
    created, owned = (problem.message for problem in found)
    assert f'ALTER ROLE "{role}" CREATEDB;' in created and "--in-place" in created
    assert f'ALTER DATABASE "{stage.name}" OWNER TO "{role}";' in owned


def test_unfit_databases_many_tables_are_shortened(asked: Asked) -> None:
    for number in range(7):
        asked.stage.sql(f"CREATE TABLE t{number} (); ALTER TABLE t{number} ENABLE ROW LEVEL SECURITY")
        asked.stage.sql(f"ALTER TABLE t{number} FORCE ROW LEVEL SECURITY")
    assert (
        ": public.t0, public.t1, public.t2, public.t3, public.t4 and 2 more." in only(asked(), "E042").message
    )


OTHER_NAMESPACE = """
from igny8_backup.schedules import beat_schedule
from project.celery import app
app.config_from_object("django.conf:settings", namespace="QUEUE")
QUEUE_BEAT_SCHEDULE = beat_schedule()
"""


def test_check_command_connects_to_the_server(project: Project) -> None:
    """It also reads the tables of django-celery-beat where the settings schedule no backup."""
    add_row = "INSERT INTO django_celery_beat_periodictask (name, task, interval_id, enabled, args, kwargs,"
    add_row += " description, headers, one_off, total_run_count, date_changed)"
    add_row += " VALUES (%s, %s, 1, true, '[]', '{}', '', '{}', false, 0, now())"
    project.sql("INSERT INTO django_celery_beat_intervalschedule VALUES (1, 1, 'days')")

    def check(status: int) -> str:
        (done,) = run_many(project, CHECK)
        return done.ended(status).output

    project.settings("")
    assert "igny8_backup.W004" in check(0), "Celery is in use, and there is no schedule at all"
    project.settings(OTHER_NAMESPACE)
    assert "igny8_backup.W004" not in check(0)
    project.settings("")
    project.sql("ALTER TABLE content_article ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    project.sql(add_row, "mail", "newsletter.send")
    told = check(1)
    assert "igny8_backup.E042" in told and "BYPASSRLS" in told and "E042 under" in told
    assert "igny8_backup.W004" in told
    project.sql("ALTER TABLE content_article NO FORCE ROW LEVEL SECURITY")
    project.sql(add_row, "by hand", "igny8_backup.backup_all")
    assert "igny8_backup.W004" not in check(0)
    project.sql("DROP TABLE django_celery_beat_periodictask CASCADE")
    project.settings("CELERY_BEAT_SCHEDULE = {'mail': {'task': 'newsletter.send'}}")
    assert "igny8_backup.W004" in check(0)
