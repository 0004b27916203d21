"""Settings that a restore copies to the staging database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.databases.postgresql.attributes import list_items
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseSetting
from tests.databases.stage import Stage


@pytest.mark.slow
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_list_items_reads_quoted_names(names: list[str]) -> None:
    assert list_items(", ".join('"' + name.replace('"', '""') + '"' for name in names)) == names


def test_list_items_reads_plain_names() -> None:
    assert list_items('"$user", public,  app') == ["$user", "public", "app"]
    assert list_items("") == list_items('""') == [""]


SETTINGS = [
    ("search_path", "\"$user\", \"Odd, \"\"Schema\"\"\", 'sin''gle', public"),
    ("app.tenant", "'it''s = \\ 税'"),
    ('"App"."Mixed"', "'x'"),
    ("work_mem", "'12MB'"),
    ("statement_timeout", "90000"),
    ("\"TimeZone\"", "'Europe/Vienna'"),
    ("default_transaction_isolation", "'repeatable read'"),
    ("enable_hashjoin", "off"),
    ("datestyle", "'ISO, DMY'"),
    ("temp_tablespaces", "''"),
]  # fmt: skip


@pytest.fixture
def own_settings(stage: Stage) -> Iterator[None]:
    """Settings of the application's own, which a superuser must allow."""
    names = 'app.tenant, "App"."Mixed"'
    stage.admin(f"GRANT SET ON PARAMETER {names} TO {stage.server.role}")
    yield
    stage.admin(f"REVOKE SET ON PARAMETER {names} FROM {stage.server.role}")


@pytest.mark.postgres(15, 18)
@pytest.mark.usefixtures("own_settings")
def test_copy_settings_copies_database_and_role_settings(stage: Stage) -> None:
    role = stage.server.role
    for name, value in SETTINGS:
        stage.sql(f"ALTER DATABASE {stage.name} SET {name} TO {value}")
        stage.sql(f"ALTER ROLE {role} IN DATABASE {stage.name} SET {name} TO {value}")
    details = stage.make_staging()
    query = (
        "SELECT pg_get_userbyid(setrole), setconfig FROM pg_db_role_setting s JOIN pg_database d"
        " ON d.oid = setdatabase WHERE datname = %s ORDER BY 1"
    )
    live, copied = stage.admin(query, stage.name), stage.admin(query, stage.staging)
    assert len(live) == 2
    assert [(who, sorted(entries)) for who, entries in copied] == [
        (who, sorted(entries)) for who, entries in live
    ]
    assert len(details.settings) == 2 * len(SETTINGS)


@pytest.mark.postgres(15, 18)
def test_blockers_name_settings_that_the_role_may_not_copy(stage: Stage) -> None:
    other = stage.make_role("other")
    database = f'"{stage.name}"'
    assert stage.engine.blockers(stage.part(), stage.engine.describe(())) == []
    for name in ("log_statement", "app.tenant"):
        stage.admin(f"ALTER DATABASE {stage.name} SET {name} TO 'all'")
    stage.admin(f"ALTER ROLE {other} IN DATABASE {stage.name} SET work_mem TO '8MB'")
    stage.sql(f"ALTER DATABASE {stage.name} SET work_mem TO '9MB'")
    details, part = stage.engine.describe(()), stage.part()
    found = " ".join(stage.engine.blockers(part, details))
    assert f'ALTER DATABASE {database} RESET "log_statement";' in found
    assert f'ALTER DATABASE {database} RESET "app"."tenant";' in found
    assert f'ALTER ROLE "{other}" IN DATABASE {database} RESET "work_mem";' in found
    assert found.count("restore with --in-place") == 3 and "GRANT" not in found
    assert stage.engine.check(()) and "W011" in stage.engine.check(())[0].id
    assert stage.engine.describe(()).settings == details.settings, "the plan changes nothing"
    stage.server.drop_database(stage.name)
    found = " ".join(stage.engine.blockers(part, details))
    assert found.count(f"CREATE DATABASE {database};") == 3 and "GRANT" not in found


def test_copy_settings_copies_all_others_before_it_names_the_refused(stage: Stage) -> None:
    stage.admin(f"ALTER DATABASE {stage.name} SET log_statement TO 'all'")
    stage.sql(f"ALTER DATABASE {stage.name} SET work_mem TO '9MB'")
    with pytest.raises(DatabaseError, match="log_statement of the database .permission denied"):
        stage.make_staging()
    assert stage.sql("SHOW work_mem", database=stage.staging) == [("9MB",)]


@pytest.mark.usefixtures("own_settings")
def test_copy_settings_without_live_database_applies_recorded_ones(stage: Stage) -> None:
    stage.sql(f"ALTER DATABASE {stage.name} SET app.tenant TO 'recorded'")
    details = stage.engine.describe(())
    data = b"".join(stage.engine.dump(details))
    stage.server.drop_database(stage.name)
    engine, staging = stage.engine, stage.staging
    engine.create_staging(staging, details)
    engine.load(staging, (block for block in [data]), jobs=1)
    engine.copy_settings(staging, details)
    assert details.settings == (DatabaseSetting(role="", name="app.tenant", value="recorded"),)
    assert stage.sql("SHOW app.tenant", database=staging) == [("recorded",)]


def test_apply_settings_error_hides_the_value(stage: Stage) -> None:
    wrong = DatabaseSetting(role="", name="work_mem", value="SENTINEL-9d")
    details, part = replace(stage.engine.describe(()), settings=(wrong,)), stage.part()
    stage.server.drop_database(stage.name)
    stage.engine.create_staging(stage.staging, details)
    with pytest.raises(DatabaseError, match='invalid value for parameter "work_mem"') as caught:
        stage.engine.copy_settings(stage.staging, details)
    (blocker,) = stage.engine.blockers(part, details)
    assert "SENTINEL" not in f"{caught.value} {blocker}"
