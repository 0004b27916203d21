"""Owners that need not come back do not stop a restore by a role that may not act for them."""

from __future__ import annotations

import pytest

from igny8_backup.databases.values import WHOLE
from tests.databases.stage import Stage, blocks_of

both_ends = pytest.mark.postgres(15, 18)

# As in a database that was created before PostgreSQL 15 and upgraded, with statements of an administrator.
OF_POSTGRES = """
    ALTER SCHEMA public OWNER TO postgres;
    GRANT ALL ON SCHEMA public TO PUBLIC;
    COMMENT ON SCHEMA public IS 'ours';
    ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT SELECT ON TABLES TO pg_monitor;
    CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    ALTER FUNCTION watch() OWNER TO igny8;
    CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch();
    ALTER EVENT TRIGGER watching DISABLE;"""


@both_ends
def test_describe_leaves_owners_out_that_need_not_come_back(stage: Stage) -> None:
    stage.sql(OF_POSTGRES, superuser=True)
    details = stage.engine.describe(())
    assert details.owners == ("igny8",) and "postgres" not in details.roles
    assert stage.engine.blockers(stage.part(), details) == []


OF_BOOTSTRAP_SUPERUSER = {
    "CREATE TYPE mood AS ENUM ('good')": "DROP TYPE mood",
    "CREATE TYPE pair AS (a int, b int)": "DROP TYPE pair",
    "CREATE DOMAIN age AS int": "DROP DOMAIN age",
    "SELECT lo_create(4711)": "SELECT lo_unlink(4711)",
    'CREATE COLLATION mine FROM "C"': "DROP COLLATION mine",
    "CREATE SCHEMA theirs": "DROP SCHEMA theirs",
    "CREATE FOREIGN DATA WRAPPER nothing": "DROP FOREIGN DATA WRAPPER nothing",
}


@both_ends
def test_describe_names_bootstrap_superuser_as_owner_of_any_object(stage: Stage) -> None:
    for create, drop in OF_BOOTSTRAP_SUPERUSER.items():
        assert "postgres" not in stage.engine.describe(()).owners
        stage.sql(create, superuser=True)
        assert "postgres" in stage.engine.describe(()).owners, create
        stage.sql(drop, superuser=True)


@both_ends
@pytest.mark.parametrize("jobs", [1, 2])
def test_load_leaves_owner_of_public_and_default_privileges_of_others_out(stage: Stage, jobs: int) -> None:
    stage.sql(OF_POSTGRES, superuser=True)
    engine = stage.engine
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    engine.create_staging(stage.staging, details)
    left_out = engine.load(stage.staging, blocks_of(data), jobs=jobs)
    assert sorted(label.split(" - ")[0].split(" public")[0] for label in left_out) == [
        "DEFAULT ACL", "EVENT TRIGGER",
    ]  # fmt: skip
    comment = "SELECT obj_description('public'::regnamespace)"
    create = "SELECT has_schema_privilege('pg_monitor', 'public', 'CREATE')"
    for query in (comment, create):
        assert stage.sql(query, database=stage.staging) == stage.sql(query)


@both_ends
def test_restore_in_place_leaves_owner_of_public_out(stage: Stage) -> None:
    stage.sql(OF_POSTGRES, superuser=True)
    engine = stage.engine
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    stage.sql(
        "DROP EVENT TRIGGER watching; ALTER SCHEMA public OWNER TO pg_database_owner;"
        " ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public"
        " REVOKE SELECT ON TABLES FROM pg_monitor",
        superuser=True,
    )
    left_out = engine.restore_in_place(blocks_of(data), details, WHOLE)
    assert len(left_out) == 2
    assert stage.sql("SELECT count(*) FROM item") == [(200,)]
