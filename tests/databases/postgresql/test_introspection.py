"""What a database says of itself, on each version, and what may stay out of its dump."""

from __future__ import annotations

import pytest

from igny8_backup.errors import RefusedError
from igny8_backup.formats.details import DatabaseSetting, Privilege
from tests.databases.stage import Stage

all_majors = pytest.mark.postgres(15, 16, 18)


@all_majors
def test_the_database_describes_itself(stage: Stage) -> None:
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
def test_an_icu_locale_is_described(stage: Stage) -> None:
    stage.server.drop_database(stage.name)
    stage.admin(
        f"CREATE DATABASE {stage.name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-AT'"
        f" OWNER {stage.server.role}"
    )
    details = stage.engine.describe(())
    assert (details.provider, details.locale) == ("icu", "de-AT")


@all_majors
def test_settings_and_privileges_are_told_apart_by_role(stage: Stage) -> None:
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
def test_roles_that_own_are_told_from_those_that_only_may(stage: Stage) -> None:
    reader, author = stage.make_role("reader"), stage.make_role("author")
    stage.sql(f"GRANT SELECT ON item TO {reader}; CREATE POLICY mine ON part TO {reader} USING (true)")
    stage.sql(f"CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO {author}", superuser=True)
    stage.sql("CREATE FUNCTION root() RETURNS int LANGUAGE sql AS 'SELECT 1'", superuser=True)
    details = stage.engine.describe(())
    assert details.owners == tuple(sorted([stage.server.role, author, "postgres"]))
    assert details.roles == tuple(sorted([*details.owners, reader]))
    stage.sql(f"DROP OWNED BY {reader}, {author}; DROP FUNCTION root", superuser=True)


@pytest.mark.postgres(15)
def test_what_an_extension_brings_is_not_the_applications(stage: Stage) -> None:
    """Owned by the superuser though the application's role created it: such extensions are trusted."""
    stage.sql("CREATE EXTENSION hstore")
    stage.sql("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_buffercache", superuser=True)
    details = stage.engine.describe(())
    assert details.owners == (stage.server.role,)
    assert details.tables == ("public.item", "public.part")
    assert details.extensions.keys() == {"plpgsql", "hstore", "pg_stat_statements", "pg_buffercache"}


def test_last_migrations_are_found_by_the_search_path(stage: Stage) -> None:
    stage.sql(f"""
        CREATE SCHEMA app; CREATE TABLE app.django_migrations (id int, app text, name text);
        INSERT INTO app.django_migrations VALUES (1, 'a', '0001'), (3, 'a', '0002'), (2, 'b', '0001_x');
        ALTER DATABASE {stage.name} SET search_path = app""")
    assert stage.engine.describe(()).migrations == {"a": "0002", "b": "0001_x"}


def test_tables_are_named_alike_on_every_server(stage: Stage) -> None:
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
def test_excluded_tables_come_back_empty_with_their_partitions_and_heirs(stage: Stage) -> None:
    stage.sql(EXCLUDABLE)
    details = stage.engine.describe(["part", 'log."Visit"', "base", 'log."odd ""T"".*?$Ü"'])
    assert details.excluded_data == (
        "public.part", 'log."Visit"', "log.visit_1", "log.visit_2", "log.visit_2a", "public.base",
        "public.heir", 'log."odd ""T"".*?$Ü"',
    )  # fmt: skip
    stage.make_side(details=details)
    side = stage.aside("side")
    left = [*details.excluded_data, "item", 'log."odd T"']
    counts = {table: stage.sql(f"SELECT count(*) FROM {table}", database=side)[0][0] for table in left}
    assert counts == {**dict.fromkeys(details.excluded_data, 0), "item": 200, 'log."odd T"': 1}


@all_majors
def test_a_table_that_kept_rows_point_to_is_not_excluded(stage: Stage) -> None:
    engine = stage.engine
    with pytest.raises(RefusedError, match=r"public\.item, which rows of public\.part reference"):
        engine.describe(["item"])
    assert engine.describe(["item", "part"]).excluded_data == ("public.item", "public.part")
    stage.sql(EXCLUDABLE)
    stage.sql('CREATE TABLE click (visit int REFERENCES log."Visit"); INSERT INTO click VALUES (5)')
    with pytest.raises(RefusedError, match=r'log\."Visit", which rows of public\.click point to'):
        engine.describe(['log."Visit"'])
    with pytest.raises(RefusedError, match=r"log\.visit_1, which rows of public\.click reference"):
        engine.describe(["log.visit_1"])
    stage.sql("CREATE TABLE seen (visit int REFERENCES log.\"Visit\") PARTITION BY LIST (visit);"
              " CREATE TABLE seen_1 PARTITION OF seen DEFAULT; DROP TABLE click")  # fmt: skip
    with pytest.raises(RefusedError, match=r"public\.seen reference"):
        engine.describe(['log."Visit"'])
    assert "public.seen_1" in engine.describe(['log."Visit"', "seen"]).excluded_data


def test_a_key_that_was_never_checked_is_no_reason_to_refuse(stage: Stage) -> None:
    stage.sql("ALTER TABLE part DROP CONSTRAINT part_item_id_fkey;"
              " ALTER TABLE part ADD FOREIGN KEY (item_id) REFERENCES item NOT VALID")  # fmt: skip
    details = stage.engine.describe(["item"])
    stage.make_side(details=details)
    assert stage.sql("SELECT count(*) FROM part", database=stage.aside("side")) == [(100,)]


@pytest.mark.parametrize("name", ["nothing", "public.nothing", "a b c", "a.b.c.d", "item_pkey", "", '"'])
def test_what_is_no_table_cannot_be_excluded(stage: Stage, name: str) -> None:
    with pytest.raises(RefusedError, match="EXCLUDE_TABLE_DATA.*not a table"):
        stage.engine.describe([name])


def test_what_django_dbbackup_excludes_is_excluded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbbackup.settings.CONNECTORS", {"stage": {"EXCLUDE": ["part"]}})
    assert stage.engine.describe(()).excluded_data == ("public.part",)
