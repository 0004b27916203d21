"""SQLite in development: copies of a database in use, and swaps of files that somebody may hold open."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from igny8_backup.databases.sqlite import SqliteEngine
from igny8_backup.errors import DatabaseError, FilesError, RefusedError
from igny8_backup.formats.manifest import DatabasePart
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


def make_side(engine: SqliteEngine) -> tuple[str, str]:
    data = dump(engine)
    side, before = engine.derived_name("side", STAMP), engine.derived_name("before", STAMP)
    details = engine.describe(())
    engine.create_staging(side, details)
    engine.load(side, blocks_of(data), raw_bytes=len(data), scratch=Path("/nowhere"), jobs=2)
    engine.copy_settings(side, details)
    return side, before


def test_a_dump_holds_what_is_committed_while_others_are_at_work(engine: SqliteEngine, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO item VALUES ('two')")
        other.commit()
        other.execute("INSERT INTO item VALUES ('never committed')")
        data = dump(engine)
    copy = path.with_name("copy")
    copy.write_bytes(data)
    assert items(copy) == ["one", "two"]


def test_the_copy_in_scratch_has_no_name(engine: SqliteEngine, path: Path, tmp_path: Path) -> None:
    run(path, "CREATE TABLE big AS SELECT randomblob(3000000)")
    blocks = engine.dump(engine.describe(()))
    assert next(blocks)
    assert list((tmp_path / "scratch").iterdir()) == []
    blocks.close()


def test_swap_and_swap_back_leave_no_log_for_the_wrong_file(engine: SqliteEngine, path: Path) -> None:
    side, before = make_side(engine)
    run(path, "INSERT INTO item VALUES ('later')")
    was = mode(path)
    path.chmod(0o640)
    engine.copy_settings(side, engine.describe(()))
    engine.swap(side, before, engine.describe(()))
    assert (items(path), items(before)) == (["one"], ["later", "one"])
    assert (mode(path), mode(before)) == (was, was)
    assert path.stat().st_mode & 0o777 == 0o640
    engine.swap_back(before, side)
    assert (items(path), items(side)) == (["later", "one"], ["one"])
    engine.drop(side)
    assert sorted(found.name for found in path.parent.iterdir()) == [path.name]


def test_a_swap_that_was_killed_is_completed(engine: SqliteEngine, path: Path) -> None:
    side, before = make_side(engine)
    run(path, "INSERT INTO item VALUES ('later')")
    os.link(path, before)  # killed between the two steps of the swap
    engine.swap(side, before, engine.describe(()))
    assert (items(path), items(before)) == (["one"], ["later", "one"])


@pytest.mark.parametrize("steps", [1, 2])
def test_an_undoing_that_was_killed_is_completed(engine: SqliteEngine, path: Path, steps: int) -> None:
    side, before = make_side(engine)
    run(path, "INSERT INTO item VALUES ('later')")
    engine.swap(side, before, engine.describe(()))
    os.link(path, f"{side}.parked")
    if steps == 2:
        os.replace(before, path)
    assert not engine.exists(side)  # by which the caller knows that it is not done
    engine.swap_back(before, side)
    assert (items(path), items(side)) == (["later", "one"], ["one"])
    assert not engine.exists(before) and not Path(f"{side}.parked").exists()


@pytest.mark.parametrize("engine", ["wal"], indirect=True)
def test_a_file_that_is_open_elsewhere_is_not_swapped(engine: SqliteEngine, path: Path) -> None:
    side, before = make_side(engine)
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM item").fetchall()
        with pytest.raises(DatabaseError, match="in use.*Nothing was replaced"):
            engine.swap(side, before, engine.describe(()))
    assert not engine.exists(before)
    engine.swap(side, before, engine.describe(()))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["delete"], indirect=True)
def test_a_locked_database_is_told(engine: SqliteEngine, path: Path) -> None:
    side, before = make_side(engine)
    details = engine.describe(())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError, match="locked.*Stop the development server"):
            list(engine.dump(details))
        other.execute("ROLLBACK")
    assert engine.tables(side) == ("item",)
    assert not engine.exists(before)


def test_what_is_no_database_is_told(engine: SqliteEngine, path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        engine.describe(())
    assert engine.target().tables is None


def test_a_damaged_dump_is_not_taken(engine: SqliteEngine, path: Path) -> None:
    run(path, "CREATE TABLE many AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n"
              " WHERE i < 5000) SELECT i, 'text ' || i AS t FROM n")  # fmt: skip
    data = bytearray(dump(engine))
    data[8192:32768] = bytes(32768 - 8192)
    side = engine.derived_name("side", STAMP)
    engine.create_staging(side, engine.describe(()))
    with pytest.raises(DatabaseError, match="damaged|malformed"):
        engine.load(side, blocks_of(bytes(data)), raw_bytes=len(data), scratch=Path(), jobs=1)


def test_a_folder_that_cannot_be_written_is_told(engine: SqliteEngine, path: Path) -> None:
    details = engine.describe(())
    with pytest.raises(FilesError, match="No such file"):
        engine.create_staging(str(path.parent / "gone" / "side"), details)
    part = DatabasePart(alias="lite", engine="sqlite", state="complete", started=NOW, finished=NOW)
    assert engine.blockers(part, details) == []


def test_the_file_behind_a_symbolic_link_is_the_database(engine: SqliteEngine, path: Path) -> None:
    link = path.parent.parent / "db.sqlite3"
    link.symlink_to(path)
    with configured("linked", {"ENGINE": "django.db.backends.sqlite3", "NAME": link}):
        linked = SqliteEngine("linked", scratch=path.parent)
        side, before = make_side(linked)
        linked.swap(side, before, linked.describe(()))
    assert link.is_symlink() and items(link) == ["one"]
    assert Path(before).parent == path.parent


@pytest.mark.parametrize("name", ["", ":memory:", "file:shared?mode=memory&cache=shared"])
def test_what_lives_in_memory_is_refused(name: str, tmp_path: Path) -> None:
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": name}
    with configured("lite", settings), pytest.raises(RefusedError, match="in memory"):
        SqliteEngine("lite", scratch=tmp_path)


def test_rows_cannot_be_left_out(engine: SqliteEngine) -> None:
    with pytest.raises(RefusedError, match="EXCLUDE_TABLE_DATA"):
        engine.describe(["item"])
