"""Privileges that other roles than the owners granted, restored by a role without superuser rights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.values import WHOLE
from tests.databases.stage import Stage, blocks_of

PRIVILEGES = """
    SELECT c.relname, grantee::regrole::text, a.privilege_type, a.is_grantable
    FROM pg_class c CROSS JOIN aclexplode(c.relacl) a WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT n.nspname, grantee::regrole::text, a.privilege_type, a.is_grantable
    FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a WHERE n.nspname = 'shop'
    UNION ALL SELECT p.proname, grantee::regrole::text, a.privilege_type, a.is_grantable
    FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a WHERE p.pronamespace = 'shop'::regnamespace
    UNION ALL SELECT attname, grantee::regrole::text, a.privilege_type, a.is_grantable
    FROM pg_attribute CROSS JOIN aclexplode(attacl) a WHERE attrelid = 'public.part'::regclass
    ORDER BY 1, 2, 3"""


@pytest.fixture
def granted(pg: PostgresServer, make_stage: Callable[..., Stage]) -> Stage:
    stage = make_stage(pg)
    stage.create()
    editor, reader = stage.make_role("The Editor", ""), stage.make_role("reader", "")
    stage.sql(
        "CREATE SCHEMA shop; CREATE FUNCTION shop.one() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        f' GRANT SELECT, UPDATE ON item TO "{editor}" WITH GRANT OPTION;'
        f' GRANT SELECT (item_id) ON part TO "{editor}" WITH GRANT OPTION;'
        f' GRANT USAGE ON SCHEMA shop TO "{editor}" WITH GRANT OPTION;'
        f' GRANT EXECUTE ON FUNCTION shop.one() TO "{editor}" WITH GRANT OPTION;'
        f' GRANT INSERT ON item TO "{reader}"'
    )
    stage.sql(
        f'SET ROLE "{editor}"; GRANT SELECT ON item TO "{reader}";'
        f' GRANT SELECT (item_id) ON part TO "{reader}";'
        f' GRANT USAGE ON SCHEMA shop TO "{reader}"; GRANT EXECUTE ON FUNCTION shop.one() TO "{reader}"',
        superuser=True,
    )
    return stage


@pytest.mark.postgres(15, 18)
@pytest.mark.parametrize("jobs", [1, 2])
def test_load_restores_privileges_that_a_grantee_granted(granted: Stage, jobs: int) -> None:
    before = granted.sql(PRIVILEGES)
    details = granted.engine.describe(())
    assert details.grantors == (granted.roles[0],)
    assert b"SET SESSION AUTHORIZATION" in granted.plain_dump()
    granted.make_staging(jobs=jobs)
    assert granted.sql(PRIVILEGES, database=granted.staging) == before


@pytest.mark.postgres(15, 18)
def test_restore_in_place_restores_privileges_that_a_grantee_granted(granted: Stage) -> None:
    before: list[Any] = granted.sql(PRIVILEGES)
    engine = granted.engine
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    granted.sql(f'REVOKE ALL ON item FROM "{granted.roles[0]}" CASCADE')
    assert granted.sql(PRIVILEGES) != before
    engine.restore_in_place(blocks_of(data), details, WHOLE)
    assert granted.sql(PRIVILEGES) == before


@pytest.mark.postgres(15, 18)
def test_load_as_superuser_restores_grantors(granted: Stage) -> None:
    details = granted.engine.describe(())
    granted.role = "postgres"
    granted.make_staging(details=details)
    grantors = "SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE grantor = %s::regrole"
    assert granted.sql(grantors, f'"{granted.roles[0]}"', database=granted.staging) == [(1,)]


OWNERS = """
    SELECT relname, pg_get_userbyid(relowner)::text FROM pg_class WHERE relnamespace = 'shop'::regnamespace
    UNION SELECT proname, pg_get_userbyid(proowner)::text FROM pg_proc
    WHERE pronamespace = 'shop'::regnamespace
    UNION SELECT nspname, concat_ws(' ', grantee::regrole, privilege_type, is_grantable)
    FROM pg_namespace, aclexplode(nspacl) WHERE nspname IN ('shop', 'public')
    UNION SELECT defaclobjtype::text, concat_ws(' ', grantee::regrole, privilege_type, is_grantable)
    FROM pg_default_acl, aclexplode(defaclacl) ORDER BY 1, 2"""


@pytest.fixture
def several_owners(granted: Stage) -> Stage:
    """A database with objects of a role that may no longer create any in their schema."""
    editor, reader = granted.roles
    granted.admin(f'GRANT "{editor}", "{reader}" TO {granted.server.role}')
    granted.sql(
        f'GRANT CREATE ON SCHEMA shop TO "{editor}", "{reader}"; GRANT CREATE ON SCHEMA public TO "{editor}";'
        f' ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO "{reader}"; SET ROLE "{editor}";'
        " CREATE TABLE shop.sale (id int PRIMARY KEY);"
        " CREATE FUNCTION shop.two() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2';"
        " CREATE INDEX ON shop.sale ((id + shop.two())); INSERT INTO shop.sale VALUES (1);"
        f' SET ROLE "{reader}"; CREATE VIEW shop.sight AS SELECT 1; RESET ROLE;'
        f' REVOKE CREATE ON SCHEMA shop FROM "{editor}"'
    )
    return granted


@pytest.mark.postgres(15, 18)
@pytest.mark.parametrize("jobs", [1, 2])
def test_load_gives_objects_to_owners_that_may_not_create_in_the_schema(
    several_owners: Stage, jobs: int
) -> None:
    stage = several_owners
    before = stage.sql(OWNERS)
    details = stage.make_staging(jobs=jobs)
    assert sorted(details.owners) == sorted([*stage.roles, stage.server.role])
    assert stage.sql(OWNERS, database=stage.staging) == before


@pytest.mark.postgres(15, 18)
def test_restore_in_place_gives_objects_to_owners_that_may_not_create_in_the_schema(
    several_owners: Stage,
) -> None:
    stage = several_owners
    before, engine = stage.sql(OWNERS), stage.engine
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    engine.restore_in_place(blocks_of(data), details, WHOLE)
    assert stage.sql(OWNERS) == before


@pytest.mark.postgres(15, 18)
def test_load_grants_nothing_on_the_live_database(granted: Stage) -> None:
    editor, reader = granted.roles
    privileges = "SELECT datacl::text FROM pg_database WHERE datname = %s"
    granted.sql(f'GRANT CONNECT ON DATABASE {granted.name} TO "{editor}" WITH GRANT OPTION')
    before = granted.admin(privileges, granted.name)
    granted.sql(
        f'SET ROLE "{editor}"; GRANT CONNECT ON DATABASE {granted.name} TO "{reader}"', superuser=True
    )
    details = granted.engine.describe(())
    data = b"".join(granted.engine.dump(details))
    granted.sql(f'REVOKE CONNECT ON DATABASE {granted.name} FROM "{editor}" CASCADE')
    granted.sql(f'GRANT CONNECT ON DATABASE {granted.name} TO "{editor}" WITH GRANT OPTION')
    granted.engine.create_staging(granted.staging, details)
    granted.engine.load(granted.staging, blocks_of(data), jobs=1)
    assert granted.admin(privileges, granted.name) == before
    granted.engine.drop(granted.staging)
    granted.server.drop_database(granted.name)
    granted.engine.create_staging(granted.staging, details)
    granted.engine.load(granted.staging, blocks_of(data), jobs=1)
