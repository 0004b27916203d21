"""Loading: from scratch with several jobs, from the stream with one, and what goes wrong on the way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from igny8_backup.errors import FilesError, StorageError, ToolError, ToolMissingError
from igny8_backup.streams import Blocks
from tests.databases.fakes import fake, link
from tests.databases.stage import Stage, blocks_of
from tests.services.postgres import PostgresServers


@pytest.fixture
def watched(stage: Stage, tmp_path: Path) -> Path:
    """The stage's ``pg_restore`` is the real one, and writes its arguments and what lies in scratch here."""
    seen = tmp_path / "seen"
    real = stage.server.bin_dir
    script = f'echo "arguments: $*" >> {seen}; echo "scratch:" $(ls -A {stage.scratch}) >> {seen}'
    fake(tmp_path / "bin", "pg_restore", f'{script}; exec {real}/pg_restore "$@"')
    link(tmp_path / "bin", real / "pg_dump")
    stage.bin_dir = tmp_path / "bin"
    return seen


@pytest.fixture
def small_scratch(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 68 MB: a little more than what is left free."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("Only root mounts a disk.")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=68m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("This container mounts no disk.")
    yield folder
    subprocess.run(["umount", folder], check=True)


def last(seen: Path) -> tuple[str, str]:
    """What ``pg_restore`` was given, and what lay in scratch, the last time."""
    *_, arguments, scratch = seen.read_text().splitlines()
    return arguments, scratch


def load(stage: Stage, data: bytes, *, jobs: int, raw_bytes: int = 0, scratch: Path | None = None) -> None:
    side = stage.aside("side")
    engine = stage.engine
    if not engine.exists(side):
        engine.create_staging(side, engine.describe(()))
    engine.load(
        side,
        blocks_of(data),
        raw_bytes=raw_bytes or len(data),
        scratch=scratch or stage.scratch,
        jobs=jobs,
    )


def dump(stage: Stage) -> bytes:
    return b"".join(stage.engine.dump(stage.engine.describe(())))


def test_several_jobs_load_from_scratch_that_has_no_name(stage: Stage, watched: Path) -> None:
    load(stage, dump(stage), jobs=2)
    arguments, scratch = last(watched)
    assert "--jobs=2 /proc/self/fd/" in arguments
    assert "--exit-on-error" in arguments
    assert scratch == "scratch:"
    assert stage.plain_dump(name=stage.aside("side")) == stage.plain_dump()


def test_one_job_loads_from_the_stream(stage: Stage, watched: Path) -> None:
    load(stage, dump(stage), jobs=1)
    assert "--jobs" not in last(watched)[0] and "/proc" not in last(watched)[0].replace("passfile=/proc", "")
    assert stage.plain_dump(name=stage.aside("side")) == stage.plain_dump()


def test_scratch_without_room_is_passed_over(stage: Stage, watched: Path, small_scratch: Path) -> None:
    data = dump(stage)
    load(stage, data, jobs=2, scratch=small_scratch, raw_bytes=5 << 20)
    assert "--jobs" not in last(watched)[0]
    assert stage.plain_dump(name=stage.aside("side")) == stage.plain_dump()


def test_any_disk_is_too_small_for_a_dump_of_an_exabyte(stage: Stage, watched: Path) -> None:
    load(stage, dump(stage), jobs=2, raw_bytes=1 << 60)
    assert "--jobs" not in last(watched)[0]


def test_scratch_that_fills_up_is_told_and_given_back(stage: Stage, small_scratch: Path) -> None:
    with pytest.raises(FilesError, match="No space left.*SCRATCH_DIR"):
        load(stage, dump(stage) + bytes(70 << 20), jobs=2, raw_bytes=1, scratch=small_scratch)
    assert list(small_scratch.iterdir()) == []


def test_what_was_loaded_is_analyzed(stage: Stage) -> None:
    load(stage, dump(stage), jobs=2)
    query = "SELECT reltuples::int FROM pg_class WHERE relname = 'item'"
    assert stage.sql(query, database=stage.aside("side")) == [(200,)]


def test_a_stream_that_breaks_stops_pg_restore(stage: Stage) -> None:
    data = dump(stage)

    def broken() -> Blocks:
        yield data[:-200]
        raise StorageError("cut")

    engine, side = stage.engine, stage.aside("side")
    engine.create_staging(side, engine.describe(()))
    with pytest.raises(StorageError, match="cut"):
        engine.load(side, broken(), raw_bytes=len(data), scratch=stage.scratch, jobs=1)
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    while stage.admin(query, side) != [(0,)]:
        pass  # a server notices that a client is gone when it reads


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_of_pg_restore_is_told_in_its_words(stage: Stage, jobs: int) -> None:
    data = dump(stage)
    load(stage, data, jobs=1)
    with pytest.raises(ToolError, match='(?s)relation "item" already exists.*live database was not changed'):
        load(stage, data, jobs=jobs)


def test_a_missing_pg_restore_is_told(stage: Stage, tmp_path: Path) -> None:
    data = dump(stage)
    stage.bin_dir = tmp_path
    with pytest.raises(ToolMissingError, match="pg_restore"):
        load(stage, data, jobs=2)


@pytest.mark.parametrize("major", [15, 16])
def test_a_newer_client_restores_to_an_older_server(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage], major: int
) -> None:
    """From 17 on ``pg_restore`` sends a setting that servers before do not know."""
    stage = make_stage(postgres_servers.get(major))
    stage.create()
    stage.bin_dir = postgres_servers.get(18).bin_dir
    assert stage.engine.versions().tool.startswith("18")
    data = dump(stage)
    for jobs in (1, 4):
        load(stage, data, jobs=jobs)
        assert stage.plain_dump(name=stage.aside("side")) == stage.plain_dump()
        with pytest.raises(ToolError, match="already exists") as caught:
            load(stage, data, jobs=jobs)
        assert "transaction_timeout" not in str(caught.value)
        stage.engine.drop(stage.aside("side"))


def test_a_subscription_is_never_restored_and_the_rest_is(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(postgres_servers.get(18), role="postgres")
    stage.create()
    options = "(connect = false, slot_name = NONE)"
    stage.sql("CREATE PUBLICATION news FOR TABLE item", superuser=True)
    stage.sql(f"CREATE SUBSCRIPTION copy CONNECTION '' PUBLICATION p WITH {options}", superuser=True)
    try:
        stage.make_side()
        query = "SELECT pubname FROM pg_publication"
        assert stage.sql(query, database=stage.aside("side")) == [("news",)]
        query = (
            "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid WHERE datname = %s"
        )
        assert stage.admin(query, stage.aside("side")) == [(0,)]
        assert stage.admin(query, stage.name) == [(1,)]
    finally:
        stage.sql("DROP SUBSCRIPTION copy", superuser=True)
