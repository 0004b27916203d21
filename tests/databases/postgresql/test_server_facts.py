"""What restores are built on: facts about PostgreSQL, each tried, and that we keep to them."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest

from tests.databases.stage import Stage
from tests.services.postgres import PostgresServers


def test_settings_of_a_database_and_of_roles_in_it_do_not_follow_a_rename(stage: Stage) -> None:
    name, before, side = stage.name, stage.aside("before"), stage.aside("side")
    stage.sql(f"ALTER DATABASE {name} SET work_mem = '7MB'")
    stage.sql(f"ALTER ROLE {stage.server.role} IN DATABASE {name} SET statement_timeout = '77s'")
    stage.server.create_database(side)
    stage.admin(f'ALTER DATABASE {name} RENAME TO "{before}"')
    stage.admin(f'ALTER DATABASE "{side}" RENAME TO {name}')
    query = "SELECT current_setting('work_mem'), current_setting('statement_timeout')"
    assert stage.sql(query, database=before) == [("7MB", "77s")]
    ((memory, timeout),) = stage.sql(query, database=name)
    assert memory != "7MB" and timeout != "77s", "so a restore copies them"


def test_the_lock_lies_in_another_database_where_it_is_in_nobodys_way(stage: Stage) -> None:
    details = stage.make_side()
    before, side = stage.aside("before"), stage.aside("side")
    lock, taken = "SELECT pg_try_advisory_lock(77)", [(True,)]
    with stage.server.connect(stage.name) as session:
        assert session.execute(lock).fetchall() == taken
        with stage.engine.lock_session() as ours:
            assert ours.execute(lock).fetchall() == taken, "a lock is of one database"
        with pytest.raises(psycopg.errors.ObjectInUse):
            stage.admin(f'ALTER DATABASE {stage.name} RENAME TO "{before}"')
    with stage.engine.lock_session() as ours:
        assert ours.info.dbname not in (stage.name, before, side)
        assert ours.execute(lock).fetchall() == taken
        stage.engine.swap(side, before, details)
        assert ours.execute("SELECT pg_advisory_unlock(77)").fetchall() == taken, "it outlived the swap"


def test_dropping_a_restored_subscription_would_drop_the_slot_of_production(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(postgres_servers.get(18), role="postgres")
    stage.create()
    server, slot = stage.server, stage.name
    slots = f"SELECT slot_name FROM pg_replication_slots WHERE slot_name = '{slot}'"
    place = f"host={server.host} port={server.port} dbname={stage.name} user=postgres"
    place += f" password={server.superuser_password}"
    options = f"(connect = false, slot_name = '{slot}')"
    stage.sql(f"SELECT pg_create_physical_replication_slot('{slot}')", superuser=True)
    stage.sql(f"CREATE SUBSCRIPTION copy CONNECTION '{place}' PUBLICATION p WITH {options}", superuser=True)
    try:
        stage.make_side()
        stage.engine.drop(stage.aside("side"))
        assert stage.admin(slots) == [(slot,)]

        (create,) = re.findall(r"CREATE SUBSCRIPTION copy [^;]+;", stage.plain_dump().decode())
        naive = stage.aside("side")
        stage.server.create_database(naive)
        stage.sql(create, database=naive, superuser=True)
        stage.sql("DROP SUBSCRIPTION copy", database=naive, superuser=True)
        assert stage.admin(slots) == [], "the dump carries the name of the slot"
    finally:
        stage.sql("ALTER SUBSCRIPTION copy SET (slot_name = NONE)", superuser=True)
        stage.sql("DROP SUBSCRIPTION copy", superuser=True)
        stage.admin(f"SELECT pg_drop_replication_slot(slot_name) FROM ({slots}) AS left_over")
