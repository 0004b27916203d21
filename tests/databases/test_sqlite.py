"""The SQLite engine: dumps of a database in use, and swaps of files that may be open."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from igny8_backup.databases.names import PREVIOUS, STAGING
from igny8_backup.databases.sqlite import SqliteEngine
from igny8_backup.errors import DatabaseError, FilesError, RefusedError
from igny8_backup.formats.parts.database import DatabasePart
from tests.databases.stage import STAMP, blocks_of, configured

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "it's db.sqlite3"


@pytest.fixture(params=["delete", "wal"])
def engine(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Iterator[SqliteEngine]:
    path.parent.mkdir()
    run(path, f"PRAGMA journal_mode = {request.param}")
    run(path, "CREATE TABLE item (name text)")
    run(path, "INSERT INTO item VALUES ('one')")
    with configured("lite", {"ENGINE": "django.db.backends.sqlite3", "NAME": path}):
        yield SqliteEngine("lite", scratch=tmp_path / "scratch")


def run(path: Path | str, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as session:
        return session.execute(query).fetchall()


def items(path: Path | str) -> list[object]:
    return [name for (name,) in run(path, "SELECT name FROM item ORDER BY 1")]


def mode(path: Path | str) -> object:
    return run(path, "PRAGMA journal_mode")[0][0]


def dump(engine: SqliteEngine) -> bytes:
    return b"".join(engine.dump(engine.describe(())))


def make_staging(engine: SqliteEngine) -> tuple[str, str]:
    data = dump(engine)
    staging, previous = engine.derived_name(STAGING, STAMP), engine.derived_name(PREVIOUS, STAMP)
    details = engine.describe(())
    engine.create_staging(staging, details)
    engine.load(staging, blocks_of(data), jobs=2)
    engine.copy_settings(staging, details)
    return staging, previous


def test_dump_during_open_transaction_holds_committed_rows(engine: SqliteEngine, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO item VALUES ('two')")
        other.commit()
        other.execute("INSERT INTO item VALUES ('never committed')")
        data = dump(engine)
    copy = path.with_name("copy")
    copy.write_bytes(data)
    assert items(copy) == ["one", "two"]


def test_dump_in_progress_leaves_no_named_file_in_scratch(
    engine: SqliteEngine, path: Path, tmp_path: Path
) -> None:
    run(path, "CREATE TABLE big AS SELECT randomblob(3000000)")
    blocks = engine.dump(engine.describe(()))
    assert next(blocks)
    assert list((tmp_path / "scratch").iterdir()) == []
    blocks.close()


def test_swap_and_swap_back_leave_no_log_of_another_file(engine: SqliteEngine, path: Path) -> None:
    staging, previous = make_staging(engine)
    run(path, "INSERT INTO item VALUES ('later')")
    journal_mode = mode(path)
    path.chmod(0o640)
    engine.copy_settings(staging, engine.describe(()))
    engine.swap(staging, previous, engine.describe(()))
    assert (items(path), items(previous)) == (["one"], ["later", "one"])
    assert (mode(path), mode(previous)) == (journal_mode, journal_mode)
    assert path.stat().st_mode & 0o777 == 0o640
    engine.swap_back(previous, staging)
    assert (items(path), items(staging)) == (["later", "one"], ["one"])
    engine.drop(staging)
    assert sorted(found.name for found in path.parent.iterdir()) == [path.name]


def test_swap_killed_between_steps_completes_on_next_call(engine: SqliteEngine, path: Path) -> None:
    staging, previous = make_staging(engine)
    run(path, "INSERT INTO item VALUES ('later')")
    os.link(path, previous)  # killed between the two steps of the swap
    engine.swap(staging, previous, engine.describe(()))
    assert (items(path), items(previous)) == (["one"], ["later", "one"])


@pytest.mark.parametrize("steps", [1, 2])
def test_swap_back_killed_between_steps_completes_on_next_call(
    engine: SqliteEngine, path: Path, steps: int
) -> None:
    staging, previous = make_staging(engine)
    run(path, "INSERT INTO item VALUES ('later')")
    engine.swap(staging, previous, engine.describe(()))
    os.link(path, f"{staging}.parked")
    if steps == 2:
        os.replace(previous, path)
    assert not engine.exists(staging)  # the caller sees by this that it is not done
    engine.swap_back(previous, staging)
    assert (items(path), items(staging)) == (["later", "one"], ["one"])
    assert not engine.exists(previous) and not Path(f"{staging}.parked").exists()


@pytest.mark.parametrize("engine", ["wal"], indirect=True)
def test_swap_of_open_file_is_refused(engine: SqliteEngine, path: Path) -> None:
    staging, previous = make_staging(engine)
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM item").fetchall()
        with pytest.raises(DatabaseError, match="in use.*Nothing was replaced"):
            engine.swap(staging, previous, engine.describe(()))
    assert not engine.exists(previous)
    engine.swap(staging, previous, engine.describe(()))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["delete"], indirect=True)
def test_dump_of_locked_database_names_the_lock(engine: SqliteEngine, path: Path) -> None:
    staging, previous = make_staging(engine)
    details = engine.describe(())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError, match="locked.*Stop the development server"):
            list(engine.dump(details))
        other.execute("ROLLBACK")
    assert engine.tables(staging) == ("item",)
    assert not engine.exists(previous)


def test_describe_of_invalid_file_raises(engine: SqliteEngine, path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        engine.describe(())
    assert engine.target().tables is None


def test_load_of_damaged_dump_raises(engine: SqliteEngine, path: Path) -> None:
    run(path, "CREATE TABLE many AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n"
              " WHERE i < 5000) SELECT i, 'text ' || i AS t FROM n")  # fmt: skip
    data = bytearray(dump(engine))
    data[8192:32768] = bytes(32768 - 8192)
    staging = engine.derived_name(STAGING, STAMP)
    engine.create_staging(staging, engine.describe(()))
    with pytest.raises(DatabaseError, match="damaged|malformed"):
        engine.load(staging, blocks_of(bytes(data)), jobs=1)


def test_create_staging_in_missing_folder_raises(engine: SqliteEngine, path: Path) -> None:
    details = engine.describe(())
    with pytest.raises(FilesError, match="No such file"):
        engine.create_staging(str(path.parent / "gone" / "staging"), details)
    part = DatabasePart(alias="lite", engine="sqlite", state="complete", started=NOW, finished=NOW)
    assert engine.blockers(part, details) == []


def test_swap_through_symbolic_link_replaces_its_target(engine: SqliteEngine, path: Path) -> None:
    link = path.parent.parent / "db.sqlite3"
    link.symlink_to(path)
    with configured("linked", {"ENGINE": "django.db.backends.sqlite3", "NAME": link}):
        linked = SqliteEngine("linked", scratch=path.parent)
        staging, previous = make_staging(linked)
        linked.swap(staging, previous, linked.describe(()))
    assert link.is_symlink() and items(link) == ["one"]
    assert Path(previous).parent == path.parent


@pytest.mark.parametrize("name", ["", ":memory:", "file:shared?mode=memory&cache=shared"])
def test_engine_in_memory_is_refused(name: str, tmp_path: Path) -> None:
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": name}
    with configured("lite", settings), pytest.raises(RefusedError, match="in memory"):
        SqliteEngine("lite", scratch=tmp_path)


def test_describe_with_excluded_tables_is_refused(engine: SqliteEngine) -> None:
    with pytest.raises(RefusedError, match="EXCLUDE_TABLE_DATA"):
        engine.describe(["item"])
