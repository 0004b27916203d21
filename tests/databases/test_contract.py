"""What every engine does, whatever the database: the same calls over SQLite and each PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from igny8_backup.errors import BackupError, DatabaseError, RefusedError, StorageError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.streams import Blocks
from tests.databases.stage import STAMP, Stage, blocks_of, configured
from tests.databases.subjects import PostgresqlSubject, SqliteSubject, Subject
from tests.services.postgres import MAJORS, NEWEST, PostgresServers

everywhere = pytest.mark.parametrize("subject", ["sqlite", *MAJORS], indirect=True)
of_each_kind = pytest.mark.parametrize("subject", ["sqlite", NEWEST], indirect=True)


@pytest.fixture
def subject(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    postgres_servers: PostgresServers,
    make_stage: Callable[..., Stage],
) -> Iterator[Subject]:
    if request.param == "sqlite":
        settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "db.sqlite3"}
        with configured("contract", settings):
            made: Subject = SqliteSubject(tmp_path)
            made.create()
            yield made
    else:
        made = PostgresqlSubject(make_stage(postgres_servers.get(request.param)))
        made.create()
        yield made


def fill(subject: Subject, *names: str) -> None:
    subject.run("CREATE TABLE item (name text)")
    for name in names:
        add(subject, name)


def add(subject: Subject, name: str) -> None:
    subject.run(f"INSERT INTO item VALUES ('{name}')")


def restore_beside(subject: Subject, details: DatabaseDetails, data: bytes) -> tuple[str, str]:
    engine = subject.engine
    side, before = engine.derived_name("side", STAMP), engine.derived_name("before", STAMP)
    engine.create_staging(side, details)
    engine.load(side, blocks_of(data), raw_bytes=len(data), scratch=subject.scratch, jobs=2)
    engine.copy_settings(side, details)
    return side, before


@everywhere
def test_a_dump_comes_back_beside_the_live_database_then_in_its_place_and_back_again(
    subject: Subject,
) -> None:
    engine = subject.engine
    fill(subject, "one", "two")
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    add(subject, "three")
    side, before = restore_beside(subject, details, data)
    assert engine.tables(side) == details.tables != ()
    assert subject.names() == ["one", "three", "two"]

    engine.swap(side, before, details)
    assert subject.names() == ["one", "two"]
    assert subject.names(before) == ["one", "three", "two"]
    assert (engine.exists(side), engine.exists(before)) == (False, True)

    engine.swap_back(before, side)
    assert subject.names() == ["one", "three", "two"]
    assert subject.names(side) == ["one", "two"]
    assert (engine.exists(side), engine.exists(before)) == (True, False)

    engine.drop(side)
    engine.drop(side)
    assert not engine.exists(side)


@everywhere
def test_where_there_is_no_live_database_the_restored_one_takes_its_name_and_can_be_taken_back(
    subject: Subject,
) -> None:
    engine = subject.engine
    fill(subject, "one")
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    subject.lose()
    assert not engine.target().exists

    side, before = restore_beside(subject, details, data)
    engine.swap(side, before, details)
    assert subject.names() == ["one"]
    assert not engine.exists(before)

    engine.swap_back(before, side)
    assert not engine.target().exists
    assert subject.names(side) == ["one"]
    engine.drop(side)


@of_each_kind
def test_the_target_tells_what_would_be_lost(subject: Subject) -> None:
    target = subject.engine.target()
    assert (target.exists, target.empty, target.tables) == (True, True, 0)
    fill(subject, "one")
    target = subject.engine.target()
    assert (target.exists, target.empty, target.tables) == (True, False, 1)
    assert target.size > 0


@everywhere
def test_versions_tell_the_server_and_the_program(subject: Subject) -> None:
    versions = subject.engine.versions()
    assert versions.server[0].isdigit() and versions.tool[0].isdigit()


@of_each_kind
def test_nothing_but_what_a_restore_made_is_dropped(subject: Subject) -> None:
    engine = subject.engine
    other = subject.elsewhere()
    for name in (engine.target().name, other):
        with pytest.raises(RefusedError):
            engine.drop(name)
        assert engine.exists(name)


@of_each_kind
def test_a_dump_that_is_given_up_leaves_nothing_behind(subject: Subject) -> None:
    fill(subject, "one")
    blocks = subject.engine.dump(subject.engine.describe(()))
    assert next(blocks)
    blocks.close()
    assert list(subject.scratch.glob("*")) == []


@of_each_kind
def test_a_load_whose_source_breaks_raises_what_broke_it_and_leaves_the_live_database_alone(
    subject: Subject,
) -> None:
    engine = subject.engine
    fill(subject, "one")
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    side = engine.derived_name("side", STAMP)
    engine.create_staging(side, details)

    def broken() -> Blocks:
        yield data[: len(data) // 2]
        raise StorageError("The network is gone.")

    for jobs in (1, 2):
        with pytest.raises(StorageError, match="network is gone"):
            engine.load(side, broken(), raw_bytes=len(data), scratch=subject.scratch, jobs=jobs)
    engine.drop(side)
    assert subject.names() == ["one"]
    assert list(subject.scratch.glob("*")) == []


@of_each_kind
def test_garbage_is_not_loaded(subject: Subject) -> None:
    engine = subject.engine
    fill(subject, "one")
    side = engine.derived_name("side", STAMP)
    engine.create_staging(side, engine.describe(()))
    with pytest.raises(BackupError):
        engine.load(side, blocks_of(b"no dump" * 999), raw_bytes=6993, scratch=subject.scratch, jobs=2)
    engine.drop(side)


@of_each_kind
def test_a_side_is_never_made_twice(subject: Subject) -> None:
    engine = subject.engine
    details = engine.describe(())
    side = engine.derived_name("side", STAMP)
    engine.create_staging(side, details)
    with pytest.raises(BackupError):
        engine.create_staging(side, details)
    engine.drop(side)


@of_each_kind
def test_swapping_in_a_side_that_is_not_there_changes_nothing(subject: Subject) -> None:
    engine = subject.engine
    fill(subject, "one")
    side, before = engine.derived_name("side", STAMP), engine.derived_name("before", STAMP)
    with pytest.raises(BackupError):
        engine.swap(side, before, engine.describe(()))
    assert subject.names() == ["one"]


@of_each_kind
def test_what_is_not_there_cannot_be_described(subject: Subject) -> None:
    subject.lose()
    with pytest.raises(DatabaseError):
        subject.engine.describe(())
