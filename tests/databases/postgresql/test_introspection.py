"""Descriptions of databases on each version."""

from __future__ import annotations

import pytest

from igny8_backup.formats.details import DatabaseSetting, Privilege
from tests.databases.stage import Stage

all_majors = pytest.mark.postgres(15, 16, 18)


@all_majors
def test_describe_plain_database(stage: Stage) -> None:
    name, owner = stage.name, stage.server.role
    stage.sql(f"COMMENT ON DATABASE {name} IS 'äöü € it''s'")
    stage.sql(f"ALTER DATABASE {name} CONNECTION LIMIT 50")
    details = stage.engine.describe(())
    assert (details.alias, details.name, details.owner) == ("stage", name, owner)
    assert (details.encoding, details.tablespace, details.connection_limit) == ("UTF8", "pg_default", 50)
    assert details.comment == "äöü € it's"
    assert details.tables == ("public.item", "public.part")
    assert details.size > 1_000_000
    assert details.extensions.keys() == {"plpgsql"}
    assert (details.roles, details.owners) == ((owner,), (owner,))
    assert (details.privileges, details.settings, details.migrations) == (None, (), {})
    if stage.server.major >= 17:
        assert (details.provider, details.locale) == ("builtin", "C.UTF-8")
    else:
        assert (details.provider, details.locale, details.collate) == ("libc", None, "C")


@pytest.mark.postgres(15)
def test_describe_icu_locale(stage: Stage) -> None:
    stage.server.drop_database(stage.name)
    stage.admin(
        f"CREATE DATABASE {stage.name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-AT'"
        f" OWNER {stage.server.role}"
    )
    details = stage.engine.describe(())
    assert (details.provider, details.locale) == ("icu", "de-AT")


@all_majors
def test_describe_settings_and_privileges_by_role(stage: Stage) -> None:
    name, owner = stage.name, stage.server.role
    reader = stage.make_role("reader")
    stage.sql(f"ALTER DATABASE {name} SET search_path TO \"$user\", public; "
              f"ALTER ROLE {owner} IN DATABASE {name} SET application_name TO 'a=b'; "
              f"GRANT CONNECT ON DATABASE {name} TO {reader} WITH GRANT OPTION")  # fmt: skip
    details = stage.engine.describe(())
    assert details.settings == (
        DatabaseSetting(role="", name="search_path", value='"$user", public'),
        DatabaseSetting(role=owner, name="application_name", value="a=b"),
    )
    assert details.privileges is not None
    assert Privilege(grantee=reader, privilege="CONNECT", grantable=True) in details.privileges
    assert Privilege(grantee="", privilege="TEMPORARY", grantable=False) in details.privileges


@all_majors
def test_describe_separates_owners_from_other_roles(stage: Stage) -> None:
    reader, author = stage.make_role("reader"), stage.make_role("author")
    stage.sql(f"GRANT SELECT ON item TO {reader}; CREATE POLICY mine ON part TO {reader} USING (true)")
    stage.sql(f"CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO {author}", superuser=True)
    stage.sql("CREATE FUNCTION root() RETURNS int LANGUAGE sql AS 'SELECT 1'", superuser=True)
    details = stage.engine.describe(())
    assert details.owners == tuple(sorted([stage.server.role, author, "postgres"]))
    assert details.roles == tuple(sorted([*details.owners, reader]))
    stage.sql(f"DROP OWNED BY {reader}, {author}; DROP FUNCTION root", superuser=True)


@pytest.mark.postgres(15)
def test_describe_omits_objects_of_extensions(stage: Stage) -> None:
    """A trusted extension belongs to the superuser, though the application's role created it."""
    stage.sql("CREATE EXTENSION hstore")
    stage.sql("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_buffercache", superuser=True)
    details = stage.engine.describe(())
    assert details.owners == (stage.server.role,)
    assert details.tables == ("public.item", "public.part")
    assert details.extensions.keys() == {"plpgsql", "hstore", "pg_stat_statements", "pg_buffercache"}


def test_describe_finds_migrations_by_search_path(stage: Stage) -> None:
    stage.sql(f"""
        CREATE SCHEMA app; CREATE TABLE app.django_migrations (id int, app text, name text);
        INSERT INTO app.django_migrations VALUES (1, 'a', '0001'), (3, 'a', '0002'), (2, 'b', '0001_x');
        ALTER DATABASE {stage.name} SET search_path = app""")
    assert stage.engine.describe(()).migrations == {"a": "0002", "b": "0001_x"}


def test_describe_quotes_table_names_independently_of_keywords(stage: Stage) -> None:
    stage.sql("""
        CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."Ta""ble" ();
        CREATE TABLE "user" (); CREATE TABLE "json" (); CREATE MATERIALIZED VIEW "View" AS SELECT 1;
        CREATE TABLE split (n int) PARTITION BY LIST (n); CREATE VIEW plain AS SELECT 1;
        CREATE TEMPORARY TABLE passing ()""")
    tables = stage.engine.describe(()).tables
    assert tables == (
        '"My Schema"."Ta""ble"', 'public."View"', "public.item", "public.json", "public.part",
        "public.split", "public.user",
    )  # fmt: skip
