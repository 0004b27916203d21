"""A renamed ``public`` keeps its privileges in every kind of restore, and drills compare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.databases.values import Answers
from igny8_backup.formats.details import DatabaseDetails, Privilege, SchemaAccess
from igny8_backup.operations.staging.access_checks import access_differences
from tests.services.project import Project

SCHEMAS = """
    SELECT nspname, pg_get_userbyid(nspowner), has_schema_privilege('pg_monitor', oid, 'USAGE'),
           has_schema_privilege('pg_monitor', oid, 'CREATE')
    FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1"""


@pytest.mark.postgres(15, 18)
def test_every_restore_of_a_renamed_public_keeps_its_privileges(project: Project) -> None:
    name = project.database
    identity: list[str | Path] = ["--identity", project.identity, "--noinput"]
    project.sql("ALTER SCHEMA public RENAME TO app; GRANT CREATE ON SCHEMA app TO pg_monitor")
    project.sql(f"ALTER DATABASE {name} SET search_path TO app")
    before = project.sql(SCHEMAS)
    assert ("app", "pg_database_owner", True, True) in before
    made = json.loads(project.run("backup_db", "--json", check=True).stdout)["manifest"]["id"]
    drilled = project.run("drill_backup", made, *identity[:2])
    assert drilled.returncode == 0 and "Owners or privileges differ" not in drilled.stderr, drilled.stderr
    project.run("extract_backup", made, "--to-database", f"{name}_copy", *identity[:2], check=True)
    assert project.sql(SCHEMAS, database=f"{name}_copy") == before
    project.sql("REVOKE ALL ON SCHEMA app FROM PUBLIC, pg_monitor; CREATE SCHEMA public")
    project.run("restore_all", made, "--only", "db", *identity, "--database-name", name, check=True)
    assert project.sql(SCHEMAS) == before
    project.sql("REVOKE ALL ON SCHEMA app FROM PUBLIC, pg_monitor; CREATE SCHEMA public")
    project.run("restore_all", made, "--in-place", *identity, "--database-name", name, check=True)
    assert project.sql(SCHEMAS) == before


def test_difference_that_a_dump_lacks_ends_a_drill_with_status_3(project: Project) -> None:
    with project.server.connect(project.database, superuser=True) as session:
        session.execute("REVOKE SELECT ON information_schema.tables FROM PUBLIC")
    project.run("backup_db", check=True)
    drilled = project.run("drill_backup", "--identity", project.identity)
    assert drilled.returncode == 3, drilled.stderr
    assert "view information_schema.tables has default owner and privileges instead of" in drilled.stderr
    assert "without PUBLIC=SELECT" in drilled.stderr


def details(**changed: Any) -> DatabaseDetails:
    return DatabaseDetails(alias="a", name="a", tables=(), **changed)


def test_access_differences_without_recorded_access_are_empty() -> None:
    schema = SchemaAccess(name="app", owner="shop")
    assert access_differences(details(), Answers(schemas=(schema,), access={"table a.b": "owner x"})) == ""
    assert access_differences(details(schemas=(), access={}), Answers()) == ""


def test_access_differences_ignore_the_owner_of_public() -> None:
    """It need not come back: a restoring role that is no superuser leaves it out."""
    usage = Privilege(grantee="", privilege="USAGE", grantable=False)

    def public(owner: str, *privileges: Privilege) -> tuple[SchemaAccess, ...]:
        own = Privilege(grantee=owner, privilege="CREATE", grantable=False)
        return (SchemaAccess(name="public", owner=owner, privileges=(own, *privileges)),)

    then = details(schemas=public("postgres", usage))
    assert access_differences(then, Answers(schemas=public("pg_database_owner", usage))) == ""
    assert "PUBLIC=USAGE" in access_differences(then, Answers(schemas=public("pg_database_owner")))


def test_access_differences_are_named_and_limited() -> None:
    usage = Privilege(grantee="", privilege="USAGE", grantable=True)
    then = SchemaAccess(name="app", owner="shop", privileges=(usage,))
    now = SchemaAccess(name="app", owner="web", privileges=())
    found = access_differences(
        details(schemas=(then,), access={f"table app.t{n}": "owner x" for n in range(9)}),
        Answers(schemas=(now,), access={"table app.t0": "owner y"}),
    )
    assert "schema app has owner web, no privileges instead of owner shop, PUBLIC=USAGE*;" in found
    assert "table app.t0 has owner y instead of owner x;" in found
    assert "table app.t1 has default owner and privileges instead of owner x;" in found
    assert "; and 5 more." in found
