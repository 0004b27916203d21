"""Descriptions of databases on each version, and tables whose rows are excluded."""

from __future__ import annotations

import pytest

from igny8_backup.errors import RefusedError
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


EXCLUDABLE = """
    CREATE SCHEMA log; CREATE TABLE log."Visit" (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE log.visit_1 PARTITION OF log."Visit" FOR VALUES FROM (0) TO (100);
    CREATE TABLE log.visit_2 PARTITION OF log."Visit" FOR VALUES FROM (100) TO (200) PARTITION BY HASH (id);
    CREATE TABLE log.visit_2a PARTITION OF log.visit_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    INSERT INTO log."Visit" SELECT generate_series(1, 150);
    CREATE TABLE log."odd ""T"".*?$Ü" AS SELECT 1; CREATE TABLE log."odd T" AS SELECT 1;
    CREATE TABLE base (id int); CREATE TABLE heir () INHERITS (base);
    INSERT INTO heir VALUES (1);"""


@all_majors
def test_excluded_tables_restore_empty_with_partitions_and_children(stage: Stage) -> None:
    stage.sql(EXCLUDABLE)
    details = stage.engine.describe(["part", 'log."Visit"', "base", 'log."odd ""T"".*?$Ü"'])
    assert details.excluded_data == (
        "public.part", 'log."Visit"', "log.visit_1", "log.visit_2", "log.visit_2a", "public.base",
        "public.heir", 'log."odd ""T"".*?$Ü"',
    )  # fmt: skip
    stage.make_staging(details=details)
    staging = stage.staging
    left = [*details.excluded_data, "item", 'log."odd T"']
    counts = {table: stage.sql(f"SELECT count(*) FROM {table}", database=staging)[0][0] for table in left}
    assert counts == {**dict.fromkeys(details.excluded_data, 0), "item": 200, 'log."odd T"': 1}


@all_majors
def test_excluding_referenced_table_is_refused(stage: Stage) -> None:
    engine = stage.engine
    with pytest.raises(RefusedError, match=r"public\.item, which rows of public\.part reference"):
        engine.describe(["item"])
    assert engine.describe(["item", "part"]).excluded_data == ("public.item", "public.part")
    stage.sql(EXCLUDABLE)
    stage.sql('CREATE TABLE click (visit int REFERENCES log."Visit"); INSERT INTO click VALUES (5)')
    with pytest.raises(RefusedError, match=r'log\."Visit", which rows of public\.click reference'):
        engine.describe(['log."Visit"'])
    with pytest.raises(RefusedError, match=r"log\.visit_1, which rows of public\.click reference"):
        engine.describe(["log.visit_1"])
    stage.sql("CREATE TABLE seen (visit int REFERENCES log.\"Visit\") PARTITION BY LIST (visit);"
              " CREATE TABLE seen_1 PARTITION OF seen DEFAULT; DROP TABLE click")  # fmt: skip
    with pytest.raises(RefusedError, match=r"public\.seen reference"):
        engine.describe(['log."Visit"'])
    assert "public.seen_1" in engine.describe(['log."Visit"', "seen"]).excluded_data


def test_excluding_table_with_unvalidated_reference_is_allowed(stage: Stage) -> None:
    stage.sql("ALTER TABLE part DROP CONSTRAINT part_item_id_fkey;"
              " ALTER TABLE part ADD FOREIGN KEY (item_id) REFERENCES item NOT VALID")  # fmt: skip
    details = stage.engine.describe(["item"])
    stage.make_staging(details=details)
    assert stage.sql("SELECT count(*) FROM part", database=stage.staging) == [(100,)]


@pytest.mark.parametrize("name", ["nothing", "public.nothing", "a b c", "a.b.c.d", "item_pkey", "", '"'])
def test_excluding_unknown_table_is_refused(stage: Stage, name: str) -> None:
    with pytest.raises(RefusedError, match="EXCLUDE_TABLE_DATA.*not a table"):
        stage.engine.describe([name])


def test_exclude_of_connector_is_applied(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbbackup.settings.CONNECTORS", {"stage": {"EXCLUDE": ["part"]}})
    assert stage.engine.describe(()).excluded_data == ("public.part",)
