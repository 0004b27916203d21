"""Facts about PostgreSQL that restores rely on, each verified against a server."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest

from tests.databases.stage import Stage
from tests.services.postgres import PostgresServers


def test_rename_does_not_move_settings(stage: Stage) -> None:
    name, previous, staging = stage.name, stage.previous, stage.staging
    stage.sql(f"ALTER DATABASE {name} SET work_mem = '7MB'")
    stage.sql(f"ALTER ROLE {stage.server.role} IN DATABASE {name} SET statement_timeout = '77s'")
    stage.server.create_database(staging)
    stage.admin(f'ALTER DATABASE {name} RENAME TO "{previous}"')
    stage.admin(f'ALTER DATABASE "{staging}" RENAME TO {name}')
    query = "SELECT current_setting('work_mem'), current_setting('statement_timeout')"
    assert stage.sql(query, database=previous) == [("7MB", "77s")]
    ((memory, timeout),) = stage.sql(query, database=name)
    assert memory != "7MB" and timeout != "77s", "so a restore copies them"


def test_lock_session_survives_swap(stage: Stage) -> None:
    details = stage.make_staging()
    previous, staging = stage.previous, stage.staging
    lock, granted = "SELECT pg_try_advisory_lock(77)", [(True,)]
    with stage.server.connect(stage.name) as session:
        assert session.execute(lock).fetchall() == granted
        with stage.engine.lock_session() as lock_session:
            assert lock_session.execute(lock).fetchall() == granted, "advisory locks are per database"
        with pytest.raises(psycopg.errors.ObjectInUse):
            stage.admin(f'ALTER DATABASE {stage.name} RENAME TO "{previous}"')
    with stage.engine.lock_session() as lock_session:
        assert lock_session.dbname not in (stage.name, previous, staging)
        assert lock_session.execute(lock).fetchall() == granted
        stage.engine.swap(staging, previous, details)
        assert lock_session.execute("SELECT pg_advisory_unlock(77)").fetchall() == granted, (
            "it outlived the swap"
        )


def test_dropping_restored_subscription_drops_slot_of_source(
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
        stage.make_staging()
        stage.engine.drop(stage.staging)
        assert stage.admin(slots) == [(slot,)]

        (create,) = re.findall(r"CREATE SUBSCRIPTION copy [^;]+;", stage.plain_dump().decode())
        naive = stage.staging
        stage.server.create_database(naive)
        stage.sql(create, database=naive, superuser=True)
        stage.sql("DROP SUBSCRIPTION copy", database=naive, superuser=True)
        assert stage.admin(slots) == [], "the dump carries the name of the slot"
    finally:
        stage.sql("ALTER SUBSCRIPTION copy SET (slot_name = NONE)", superuser=True)
        stage.sql("DROP SUBSCRIPTION copy", superuser=True)
        stage.admin(f"SELECT pg_drop_replication_slot(slot_name) FROM ({slots}) AS left_over")
