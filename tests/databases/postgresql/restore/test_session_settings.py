"""The settings of the sessions that load a staging database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.databases.stage import Stage, blocks_of
from tests.services.postgres import PostgresServers

TABLE = """
    CREATE TABLE page (body text, kept text COMPRESSION pglz);
    INSERT INTO page SELECT repeat('word ', 5000), repeat('word ', 5000)"""
HURRIED = """
    CREATE TABLE hurried (number int CHECK (current_setting('synchronous_commit') = 'off'));
    SET synchronous_commit = off;
    INSERT INTO hurried VALUES (1)"""


@pytest.fixture
def pages(postgres_servers: PostgresServers, make_stage: Callable[..., Stage]) -> Stage:
    """A stage on PostgreSQL 15, which Debian builds with lz4, with a table of long texts."""
    stage = make_stage(postgres_servers.get(15))
    if stage.admin(
        "SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)"
    ):
        stage.create(TABLE)
        return stage
    pytest.skip("This server was built without lz4.")


def load(stage: Stage) -> None:
    """Restore the database into its staging database."""
    engine = stage.engine
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    engine.create_staging(stage.staging, details)
    engine.load(stage.staging, blocks_of(data), jobs=1)


def restored(stage: Stage) -> tuple[str, str]:
    """Restore the database into its staging database; return how both columns are compressed there."""
    load(stage)
    query = "SELECT pg_column_compression(body), pg_column_compression(kept) FROM page"
    ((body, kept),) = stage.sql(query, database=stage.staging)
    return body, kept


def test_load_compresses_with_lz4_unless_the_column_has_a_compression(pages: Stage) -> None:
    assert restored(pages) == ("lz4", "pglz")


def test_load_respects_compression_that_the_database_has(pages: Stage) -> None:
    pages.sql(f"ALTER DATABASE {pages.name} SET default_toast_compression = 'pglz'")
    assert restored(pages) == ("pglz", "pglz")


def test_load_respects_compression_that_the_role_has(pages: Stage) -> None:
    pages.admin(f"ALTER ROLE {pages.role} SET default_toast_compression = 'pglz'")
    try:
        assert restored(pages) == ("pglz", "pglz")
    finally:
        pages.admin(f"ALTER ROLE {pages.role} RESET default_toast_compression")


@pytest.mark.postgres(15, 18)
def test_load_does_not_wait_for_each_commit(stage: Stage) -> None:
    stage.sql(HURRIED)
    load(stage)
    assert stage.sql("SELECT number FROM hurried", database=stage.staging) == [(1,)]
