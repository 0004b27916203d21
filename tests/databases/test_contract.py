"""The contract of ``Engine``: the same calls on SQLite and on each version of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.databases.capabilities import Capability
from igny8_backup.databases.names import PREVIOUS, STAGING
from igny8_backup.databases.values import WHOLE
from igny8_backup.errors import BackupError, DatabaseError, RefusedError, StorageError, UsageError
from igny8_backup.formats.details import DatabaseDetails
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.streams import Blocks
from tests.databases.stage import STAMP, Stage, blocks_of, configured
from tests.databases.subjects import PostgresqlSubject, SqliteSubject, Subject
from tests.services.postgres import MAJORS, NEWEST, PostgresServers

PART: dict[str, Any] = {
    "alias": "contract",
    "engine": "sqlite",
    "state": "complete",
    "started": datetime(2026, 11, 22, tzinfo=UTC),
    "finished": datetime(2026, 11, 22, tzinfo=UTC),
}

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


def restore_staging(subject: Subject, details: DatabaseDetails, data: bytes) -> tuple[str, str]:
    engine = subject.engine
    staging, previous = engine.derived_name(STAGING, STAMP), engine.derived_name(PREVIOUS, STAMP)
    engine.create_staging(staging, details)
    engine.load(staging, blocks_of(data), jobs=2)
    engine.copy_settings(staging, details)
    return staging, previous


@everywhere
def test_round_trip_through_staging_swap_and_swap_back(
    subject: Subject,
) -> None:
    engine = subject.engine
    fill(subject, "one", "two")
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    add(subject, "three")
    staging, previous = restore_staging(subject, details, data)
    assert engine.tables(staging) == details.tables != ()
    assert subject.names() == ["one", "three", "two"]

    engine.swap(staging, previous, details)
    assert subject.names() == ["one", "two"]
    assert subject.names(previous) == ["one", "three", "two"]
    assert (engine.exists(staging), engine.exists(previous)) == (False, True)

    for _ in range(2):  # the second time after an interruption
        engine.swap_back(previous, staging)
    assert subject.names() == ["one", "three", "two"]
    assert subject.names(staging) == ["one", "two"]
    assert (engine.exists(staging), engine.exists(previous)) == (True, False)

    engine.drop(staging)
    engine.drop(staging)
    assert not engine.exists(staging)


@everywhere
def test_swap_without_live_database_and_swap_back(
    subject: Subject,
) -> None:
    engine = subject.engine
    fill(subject, "one")
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    subject.lose()
    assert not engine.target().exists

    staging, previous = restore_staging(subject, details, data)
    engine.swap(staging, previous, details)
    assert subject.names() == ["one"]
    assert not engine.exists(previous)

    for _ in range(2):  # the second time after an interruption
        engine.swap_back(previous, staging, existed=False)
    assert not engine.target().exists
    assert subject.names(staging) == ["one"]
    engine.drop(staging)


@of_each_kind
def test_target_reports_tables_and_size(subject: Subject) -> None:
    target = subject.engine.target()
    assert (target.exists, target.empty, target.tables) == (True, True, 0)
    fill(subject, "one")
    target = subject.engine.target()
    assert (target.exists, target.empty, target.tables) == (True, False, 1)
    assert target.size > 0


@everywhere
def test_versions_name_server_and_tool(subject: Subject) -> None:
    versions = subject.engine.versions()
    assert versions.server[0].isdigit() and versions.tool[0].isdigit()


@of_each_kind
def test_drop_of_live_or_foreign_database_is_refused(subject: Subject) -> None:
    engine = subject.engine
    other = subject.foreign()
    for name in (engine.target().name, other):
        with pytest.raises(RefusedError):
            engine.drop(name)
        assert engine.exists(name)


@of_each_kind
def test_dump_closed_early_leaves_scratch_empty(subject: Subject) -> None:
    fill(subject, "one")
    blocks = subject.engine.dump(subject.engine.describe(()))
    assert next(blocks)
    blocks.close()
    assert list(subject.scratch.glob("*")) == []


@of_each_kind
def test_load_from_broken_stream_raises_its_error(
    subject: Subject,
) -> None:
    engine = subject.engine
    fill(subject, "one")
    details = engine.describe(())
    data = b"".join(engine.dump(details))
    staging = engine.derived_name(STAGING, STAMP)
    engine.create_staging(staging, details)

    def broken() -> Blocks:
        yield data[: len(data) // 2]
        raise StorageError("The network is gone.")

    for jobs in (1, 2):
        with pytest.raises(StorageError, match="network is gone"):
            engine.load(staging, broken(), jobs=jobs)
    engine.drop(staging)
    assert subject.names() == ["one"]
    assert list(subject.scratch.glob("*")) == []


@of_each_kind
def test_load_of_invalid_dump_raises(subject: Subject) -> None:
    engine = subject.engine
    fill(subject, "one")
    staging = engine.derived_name(STAGING, STAMP)
    engine.create_staging(staging, engine.describe(()))
    with pytest.raises(BackupError):
        engine.load(staging, blocks_of(b"no dump" * 999), jobs=2)
    engine.drop(staging)


@of_each_kind
def test_create_staging_twice_raises(subject: Subject) -> None:
    engine = subject.engine
    details = engine.describe(())
    staging = engine.derived_name(STAGING, STAMP)
    engine.create_staging(staging, details)
    with pytest.raises(BackupError):
        engine.create_staging(staging, details)
    engine.drop(staging)


@of_each_kind
def test_swap_without_staging_changes_nothing(subject: Subject) -> None:
    engine = subject.engine
    fill(subject, "one")
    staging, previous = engine.derived_name(STAGING, STAMP), engine.derived_name(PREVIOUS, STAMP)
    with pytest.raises(BackupError):
        engine.swap(staging, previous, engine.describe(()))
    assert subject.names() == ["one"]


@of_each_kind
def test_describe_of_missing_database_raises(subject: Subject) -> None:
    subject.lose()
    with pytest.raises(DatabaseError):
        subject.engine.describe(())


@of_each_kind
def test_require_of_missing_capability_raises_usage_error(subject: Subject) -> None:
    engine = subject.engine
    for capability in Capability:
        if engine.supports(capability):
            engine.require(capability, unchanged="", hint="")
            continue
        with pytest.raises(UsageError, match="SQLite, which cannot .* Nothing was done"):
            engine.require(capability, unchanged="Nothing was done.", hint="Use a server.")


@pytest.mark.parametrize("subject", ["sqlite"], indirect=True)
def test_method_of_missing_capability_is_not_implemented(subject: Subject) -> None:
    engine = subject.engine
    part, details = DatabasePart(**PART), engine.describe(())
    calls: dict[str, Callable[[], object]] = {
        "lock_session": engine.lock_session,
        "for_database": lambda: engine.for_database("other"),
        "name_staging": lambda: engine.name_staging("staging", details),
        "stale_staging_databases": engine.stale_staging_databases,
        "open_archives": lambda: engine.open_archives(details, {}, lambda answers: None, jobs=2),
        "load_archives": lambda: engine.load_archives("staging", [], jobs=2),
        "roles": engine.roles,
        "in_place_blockers": lambda: engine.in_place_blockers(part, details, blocks_of(b"")),
        "restore_in_place": lambda: engine.restore_in_place(blocks_of(b""), details, WHOLE),
        "dumped_at": lambda: engine.dumped_at(part, blocks_of(b"")),
        "drill_databases": engine.drill_databases,
        "triggers_disabled": lambda: engine.triggers_disabled("staging"),
        "rewrite": lambda: engine.rewrite("staging"),
    }
    for call in calls.values():
        with pytest.raises(NotImplementedError, match=r"SqliteEngine does not support Capability\."):
            call()
