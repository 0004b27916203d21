"""Loads with several jobs and with one, and their failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from igny8_backup.databases.values import WHOLE
from igny8_backup.errors import StorageError, ToolError, ToolMissingError
from igny8_backup.streams import Blocks
from tests.databases.fakes import fake, link
from tests.databases.stage import Stage, blocks_of
from tests.services.postgres import PostgresServers


@pytest.fixture
def watched(stage: Stage, tmp_path: Path) -> Path:
    """A file to which the stage's ``pg_restore`` appends its arguments and the contents of scratch."""
    seen = tmp_path / "seen"
    real = stage.server.bin_dir
    script = f'echo "arguments: $*" >> {seen}; echo "scratch:" $(ls -A {stage.scratch}) >> {seen}'
    fake(tmp_path / "bin", "pg_restore", f'{script}; exec {real}/pg_restore "$@"')
    link(tmp_path / "bin", real / "pg_dump")
    stage.bin_dir = tmp_path / "bin"
    return seen


def last(seen: Path) -> tuple[str, str]:
    """Return the arguments and the contents of scratch at the last call of ``pg_restore``."""
    *_, arguments, scratch = seen.read_text().splitlines()
    return arguments, scratch


def load(stage: Stage, data: bytes, *, jobs: int) -> None:
    staging = stage.staging
    engine = stage.engine
    if not engine.exists(staging):
        engine.create_staging(staging, engine.describe(()))
    engine.load(staging, blocks_of(data), jobs=jobs)


def dump(stage: Stage) -> bytes:
    return b"".join(stage.engine.dump(stage.engine.describe(())))


def test_load_with_jobs_reads_stream_then_contents_in_memory(stage: Stage, watched: Path) -> None:
    load(stage, dump(stage), jobs=2)
    first, _, arguments, scratch = watched.read_text().splitlines()[-4:]
    assert "--jobs" not in first and "--exit-on-error" in first
    assert "--exit-on-error" in arguments and "--jobs=2 /proc/self/fd/" in arguments
    assert scratch == "scratch:"
    assert stage.plain_dump(name=stage.staging) == stage.plain_dump()


def test_load_with_one_job_reads_the_stream(stage: Stage, watched: Path) -> None:
    load(stage, dump(stage), jobs=1)
    assert "--jobs" not in last(watched)[0] and "/proc" not in last(watched)[0].replace("passfile=/proc", "")
    assert stage.plain_dump(name=stage.staging) == stage.plain_dump()


def test_load_collects_statistics(stage: Stage) -> None:
    load(stage, dump(stage), jobs=2)
    assert stage.engine.analyze(stage.staging, 3) == {}
    query = "SELECT reltuples::int FROM pg_class WHERE relname = 'item'"
    assert stage.sql(query, database=stage.staging) == [(200,)]


def test_load_from_broken_stream_stops_pg_restore(stage: Stage) -> None:
    data = dump(stage)

    def broken() -> Blocks:
        yield data[:-200]
        raise StorageError("cut")

    engine, staging = stage.engine, stage.staging
    engine.create_staging(staging, engine.describe(()))
    with pytest.raises(StorageError, match="cut"):
        engine.load(staging, broken(), jobs=1)
    stage.wait_until_unused(staging)  # the server notices the lost client when it reads


@pytest.mark.parametrize("jobs", [1, 2])
def test_load_failure_reports_message_of_pg_restore(stage: Stage, jobs: int) -> None:
    data = dump(stage)
    load(stage, data, jobs=1)
    with pytest.raises(ToolError, match='(?s)relation "item" already exists.*live database was not changed'):
        load(stage, data, jobs=jobs)


def test_load_without_pg_restore_raises(stage: Stage, tmp_path: Path) -> None:
    data = dump(stage)
    stage.bin_dir = tmp_path
    with pytest.raises(ToolMissingError, match="pg_restore"):
        load(stage, data, jobs=2)


@pytest.mark.parametrize("major", [15, 16])
def test_load_with_newer_client_into_older_server(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage], major: int
) -> None:
    """``pg_restore`` 17 and later send a setting that older servers do not know."""
    stage = make_stage(postgres_servers.get(major))
    stage.create()
    stage.bin_dir = postgres_servers.get(18).bin_dir
    assert stage.engine.versions().tool.startswith("18")
    data = dump(stage)
    for jobs in (1, 4):
        load(stage, data, jobs=jobs)
        assert stage.plain_dump(name=stage.staging) == stage.plain_dump()
        with pytest.raises(ToolError, match="already exists") as caught:
            load(stage, data, jobs=jobs)
        assert "transaction_timeout" not in str(caught.value)
        stage.engine.drop(stage.staging)


def test_load_leaves_subscriptions_out(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(postgres_servers.get(18), role="postgres")
    stage.create()
    options = "(connect = false, slot_name = NONE)"
    stage.sql("CREATE PUBLICATION news FOR TABLE item", superuser=True)
    stage.sql(f"CREATE SUBSCRIPTION copy CONNECTION '' PUBLICATION p WITH {options}", superuser=True)
    try:
        stage.make_staging()
        query = "SELECT pubname FROM pg_publication"
        assert stage.sql(query, database=stage.staging) == [("news",)]
        query = (
            "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid WHERE datname = %s"
        )
        assert stage.admin(query, stage.staging) == [(0,)]
        assert stage.admin(query, stage.name) == [(1,)]
    finally:
        stage.sql("DROP SUBSCRIPTION copy", superuser=True)


@pytest.mark.postgres(15, 18)
def test_load_without_the_tablespace_of_a_table_uses_the_default_one(stage: Stage) -> None:
    place = f"{stage.name}_fast"
    with stage.server.connect(superuser=True) as session:
        session.execute("SET allow_in_place_tablespaces = on")
        session.execute(f"CREATE TABLESPACE {place} LOCATION ''".encode())
    try:
        stage.sql(f"ALTER TABLE item SET TABLESPACE {place}", superuser=True)
        engine = stage.engine
        details = engine.describe(())
        data = b"".join(engine.dump(details))
        tables = "SELECT count(*) FROM pg_class WHERE reltablespace <> 0 AND relname = 'item'"

        def load(jobs: int) -> tuple[str, ...]:
            engine.drop(stage.staging)
            engine.create_staging(stage.staging, details)
            return engine.load(stage.staging, blocks_of(data), jobs=jobs)

        # The role may not create anything there.
        (label,) = load(1)
        assert label.startswith(f"TABLESPACE - {place} ")
        stage.admin(f"GRANT CREATE ON TABLESPACE {place} TO {stage.server.role}")
        assert load(2) == ()
        assert stage.sql(tables, database=stage.staging) == [(1,)]
        engine.drop(stage.staging)
        stage.sql("ALTER TABLE item SET TABLESPACE pg_default", superuser=True)
    finally:
        stage.admin(f"DROP TABLESPACE IF EXISTS {place}")
    for jobs in (1, 2):
        assert load(jobs) == (label,)
        assert stage.sql(tables, database=stage.staging) == [(0,)]
    (in_place,) = engine.restore_in_place(blocks_of(data), details, WHOLE)
    assert in_place == label
