"""Long values in indexes, which store them as they are compressed."""

from __future__ import annotations

import random
from collections.abc import Callable

import psycopg
import pytest

from igny8_backup.errors import ToolError
from tests.databases.stage import Stage, blocks_of
from tests.services.postgres import PostgresServers

WORDS = [
    f"{a}{b}{c}"
    for a in ("re", "in", "con", "de")
    for b in ("cord", "vest", "form", "tain")
    for c in ("s", "ed", "ing")
]


def test_load_of_value_too_long_for_its_index_names_the_compression(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage]
) -> None:
    """PostgreSQL 15 of Debian has lz4, which compresses text less than pglz."""
    stage = make_stage(postgres_servers.get(15))
    stage.create('CREATE TABLE page (body text COLLATE "C" UNIQUE)')
    choose = random.Random(7)
    fits = 0
    for count in range(400, 2000, 40):
        try:
            stage.sql("INSERT INTO page VALUES (%s)", " ".join(choose.choices(WORDS, k=count)))
            fits += 1
        except psycopg.errors.ProgramLimitExceeded:
            break
    assert fits
    engine = stage.engine
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    engine.create_staging(stage.staging, details)
    stage.admin(f"ALTER ROLE {stage.role} SET default_toast_compression = 'lz4'")
    try:
        with pytest.raises(ToolError, match="index row size") as raised:
            engine.load(stage.staging, blocks_of(data), jobs=1)
    finally:
        stage.admin(f"ALTER ROLE {stage.role} RESET default_toast_compression")
    assert "ALTER ROLE ... SET default_toast_compression = 'pglz'" in str(raised.value)
