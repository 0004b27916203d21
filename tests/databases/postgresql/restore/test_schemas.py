"""Owners and privileges after a restore: those that a dump lacks, and those that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.values import WHOLE, Answers, RestoreSelection
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.operations.staging.access_checks import access_differences
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from igny8_backup.operations.staging.probe_checks import with_answers
from tests.databases.stage import Stage, blocks_of

both_ends = pytest.mark.postgres(15, 18)

# What happens to the schema "public" of real databases; {owner} owns the database, {other} is another role.
CHANGES = {
    "renamed": "ALTER SCHEMA public RENAME TO app; CREATE TABLE app.item (id int);",
    "renamed_and_created_again": (
        "ALTER SCHEMA public RENAME TO app; CREATE SCHEMA public AUTHORIZATION {owner};"
        "CREATE TABLE app.item (id int); CREATE TABLE public.item (id int);"
    ),
    "renamed_with_other_privileges": (
        "ALTER SCHEMA public RENAME TO app; REVOKE ALL ON SCHEMA app FROM PUBLIC;"
        "GRANT USAGE ON SCHEMA app TO {other} WITH GRANT OPTION; GRANT CREATE ON SCHEMA app TO pg_monitor;"
    ),
    "renamed_twice_with_another_owner": (
        'ALTER SCHEMA public RENAME TO app; ALTER SCHEMA app RENAME TO "Odd, \'Sch""ema";'
        'ALTER SCHEMA "Odd, \'Sch""ema" OWNER TO {other};'
    ),
    "dropped": "DROP SCHEMA public; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;",
    "dropped_and_created_again": "DROP SCHEMA public; CREATE SCHEMA public AUTHORIZATION {owner};",
    "given_to_another_owner": "ALTER SCHEMA public OWNER TO {other}; CREATE SCHEMA app;",
    "given_to_another_owner_without_privileges": (
        "ALTER SCHEMA public OWNER TO {other}; REVOKE ALL ON SCHEMA public FROM PUBLIC, {other};"
    ),
    "closed": "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
    "opened": "GRANT ALL ON SCHEMA public TO PUBLIC;",
    "without_privileges_of_its_owner": "REVOKE ALL ON SCHEMA public FROM PUBLIC, pg_database_owner;",
}
# Owners and privileges of other objects, which the dump has.
OTHERS = """
    CREATE TABLE item (id int, name text); CREATE TABLE theirs (id int); CREATE SEQUENCE numbers;
    ALTER TABLE theirs OWNER TO {other};
    GRANT ALL ON item TO {other}; GRANT SELECT ON item TO PUBLIC; GRANT UPDATE (name) ON item TO {other};
    REVOKE ALL ON theirs FROM {other}; GRANT USAGE ON SEQUENCE numbers TO {other} WITH GRANT OPTION;
    CREATE FUNCTION ten() RETURNS int LANGUAGE sql AS 'SELECT 10'; REVOKE ALL ON FUNCTION ten() FROM PUBLIC;
    CREATE TYPE mood AS ENUM ('good'); REVOKE USAGE ON TYPE mood FROM PUBLIC;
    CREATE VIEW items AS SELECT * FROM item; GRANT SELECT ON items TO {other};
    CREATE STATISTICS pair (dependencies) ON id, name FROM item; ALTER STATISTICS pair OWNER TO {other};
    REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
    REVOKE EXECUTE ON FUNCTION pg_sleep(double precision) FROM PUBLIC;
    GRANT SELECT ON pg_catalog.pg_authid TO {other};
    CREATE FOREIGN DATA WRAPPER remote; CREATE SERVER far FOREIGN DATA WRAPPER remote;
    GRANT USAGE ON FOREIGN SERVER far TO {other};
    ALTER DEFAULT PRIVILEGES FOR ROLE {other} GRANT SELECT ON TABLES TO pg_monitor;
    ALTER DEFAULT PRIVILEGES FOR ROLE {other} IN SCHEMA public REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    SELECT lo_create(1), lo_create(2), lo_create(3); GRANT SELECT ON LARGE OBJECT 1 TO {other};
    ALTER LARGE OBJECT 2 OWNER TO {other};"""


class Changed:
    """A database whose ``owner`` is no superuser, with another role ``other`` of which it is a member."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.owner = stage.make_role("owner", "LOGIN CREATEDB")
        self.other = stage.make_role("other")
        stage.admin(f"GRANT {self.other} TO {self.owner}")
        stage.server.create_database(stage.name)
        stage.admin(f"ALTER DATABASE {stage.name} OWNER TO {self.owner}")
        stage.admin(f"GRANT CREATE ON DATABASE {stage.name} TO {self.other}")
        self.engine = stage.engine_with(USER=self.owner)

    def change(self, statements: str, *, superuser: bool = False) -> None:
        text = statements.format(owner=self.owner, other=self.other)
        self.stage.sql(text if superuser else f"SET ROLE {self.owner}; {text}", superuser=True)

    def dump(self) -> tuple[DatabaseDetails, bytes]:
        details = self.engine.describe(())
        answers: list[Answers] = []
        data = b"".join(self.engine.dump(details, {}, answers.append))
        return with_answers(details, answers[-1]), data

    def restore(self, details: DatabaseDetails, data: bytes, *, owners: bool = True) -> str:
        """Restore into the staging database; return the differences that are left."""
        engine, staging = self.engine, self.stage.staging
        engine.create_staging(staging, details)
        selection = RestoreSelection(owners=owners)
        engine.load(staging, blocks_of(data), jobs=1, selection=selection)
        engine.restore_schemas(staging, details)
        return access_differences(details, engine.answers(staging, details))


@pytest.fixture
def changed(pg: PostgresServer, make_stage: Callable[..., Stage]) -> Iterator[Changed]:
    stage = make_stage(pg)
    yield Changed(stage)
    for name in stage.databases():
        stage.server.drop_database(name)


@both_ends
@pytest.mark.parametrize("change", ["renamed", "dropped"])
def test_restored_schemas_have_recorded_owners_and_privileges(changed: Changed, change: str) -> None:
    restore_twice(changed, CHANGES[change])


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_schemas_after_any_change_are_restored(changed: Changed, change: str) -> None:
    restore_twice(changed, change)


def restore_twice(changed: Changed, change: str) -> None:
    """Restore a database with a changed schema into a staging database, then in place; compare both."""
    changed.change(change)
    details, data = changed.dump()
    assert details.schemas is not None
    assert changed.restore(details, data) == ""
    found = changed.engine.answers(changed.stage.staging, details)
    assert (found.schemas, found.access) == (details.schemas, details.access)
    # In place, over contents with other schemas.
    changed.change(
        "CREATE SCHEMA IF NOT EXISTS public; GRANT ALL ON SCHEMA public TO PUBLIC; CREATE SCHEMA later;"
    )
    changed.change(
        f"ALTER SCHEMA later OWNER TO {changed.owner}; ALTER SCHEMA public OWNER TO {changed.owner}"
    )
    changed.engine.restore_in_place(blocks_of(data), details, WHOLE)
    assert access_differences(details, changed.engine.answers(changed.stage.name, details)) == ""


@both_ends
def test_restored_objects_have_recorded_owners_and_privileges(
    changed: Changed, make_stage: Callable[..., Stage]
) -> None:
    changed.change(OTHERS, superuser=True)
    changed.engine = changed.stage.engine_with(
        USER="postgres", PASSWORD=changed.stage.server.superuser_password
    )
    details, data = changed.dump()
    assert details.access is not None and len(details.access) == 17
    assert details.access["table public.theirs"].startswith(
        f"owner {changed.other}, without {changed.other}="
    )
    assert details.access["table column public.item.name"] == f"{changed.other}=UPDATE"
    assert changed.restore(details, data) == ""


@both_ends
def test_restore_that_may_not_change_a_schema_reports_it(changed: Changed) -> None:
    changed.change("ALTER SCHEMA public RENAME TO app; ALTER SCHEMA app OWNER TO {other};")
    details, data = changed.dump()
    strange = changed.stage.make_role("strange")
    assert details.schemas is not None
    (app,) = details.schemas
    given = replace(details, schemas=(replace(app, owner=strange),))
    difference = changed.restore(given, data)
    assert f"schema app has owner {changed.other}" in difference and f"owner {strange}" in difference


def test_restore_without_owners_drops_absent_public_and_keeps_no_privileges(changed: Changed) -> None:
    changed.change("ALTER SCHEMA public RENAME TO app")
    details, data = changed.dump()
    details, _ = apply_overrides(changed.engine, details, RestoreOverrides(owners=False))
    assert changed.restore(details, data, owners=False) == ""
    found = changed.engine.answers(changed.stage.staging, details).schemas or ()
    assert [schema.name for schema in found] == ["app"]


def test_differences_name_objects_and_privileges(changed: Changed) -> None:
    changed.change(
        "CREATE TABLE item (id int); GRANT SELECT ON item TO {other}; ALTER SCHEMA public RENAME TO app"
    )
    details, data = changed.dump()
    assert changed.restore(details, data) == ""
    staging = changed.stage.staging
    changed.stage.sql(
        f"REVOKE ALL ON app.item FROM {changed.other}; REVOKE ALL ON SCHEMA app FROM PUBLIC;"
        " CREATE SCHEMA more",
        database=staging,
        superuser=True,
    )
    difference = access_differences(details, changed.engine.answers(staging, details))
    for text in (
        "the schema more was not in the backup",
        "schema app has owner pg_database_owner, ",
        "PUBLIC=USAGE",
        f"table app.item has default owner and privileges instead of {changed.other}=SELECT",
    ):
        assert text in difference


@both_ends
def test_differences_ignore_grantors_and_quotes_around_names(changed: Changed) -> None:
    other = changed.other
    changed.change(
        f"CREATE TABLE item (id int); GRANT SELECT ON item TO {other} WITH GRANT OPTION; SELECT lo_create(1);"
        f" GRANT SELECT ON LARGE OBJECT 1 TO {other} WITH GRANT OPTION; SET ROLE {other};"
        " GRANT SELECT ON LARGE OBJECT 1 TO PUBLIC; GRANT SELECT ON item TO PUBLIC"
    )
    changed.stage.admin(f"ALTER ROLE {changed.owner} SET quote_all_identifiers = on")
    details, data = changed.dump()
    assert "table public.item" in (details.access or {})
    changed.stage.admin(f"ALTER ROLE {changed.owner} RESET quote_all_identifiers")
    assert changed.restore(details, data) == ""
