"""Dump and answers show the same instant, whatever other sessions do meanwhile."""

from __future__ import annotations

import contextlib
import re
import threading
import time

import psycopg
import pytest

from igny8_backup.databases.values import Answers
from igny8_backup.errors import DatabaseError
from tests.databases.stage import Stage, ask_during_dump

SUM = {"items": "SELECT count(*), sum(id) FROM item;"}


def wait_for_lock_waiter(stage: Stage) -> None:
    """Wait until a session waits for a lock in the database of the stage."""
    query = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    while not stage.admin(query, stage.name):
        time.sleep(0.02)


def test_dump_during_writes_matches_its_answers(stage: Stage) -> None:
    engine, found = stage.engine, []

    def meanwhile(answers: Answers) -> None:
        found.append(answers)
        stage.sql("INSERT INTO item (name) VALUES ('late'); DELETE FROM part")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            stage.sql("SET lock_timeout = 100; TRUNCATE part")

    details = engine.describe(())
    data = b"".join(engine.dump(details, SUM, meanwhile))
    (answers,) = found
    assert answers.row_counts == {"public.item": 200, "public.part": 100} and answers.snapshot
    assert answers.probes[0].rows == (("200", "20100"),)
    staging = stage.staging
    engine.create_staging(staging, details)
    engine.load(staging, (b for b in [data]), jobs=1)
    assert stage.sql("SELECT (SELECT count(*) FROM item), count(*) FROM part", database=staging) == [
        (200, 100)
    ]


def test_dump_starts_over_when_lock_is_queued_between(stage: Stage) -> None:
    engine, found = stage.engine, []
    engine.lock_seconds = 1
    altering = threading.Thread(target=stage.sql, args=["ALTER TABLE part ADD COLUMN late int"])

    def meanwhile(answers: Answers) -> None:
        found.append(answers)
        if len(found) == 1:
            altering.start()
            wait_for_lock_waiter(stage)

    data = b"".join(engine.dump(engine.describe(()), SUM, meanwhile))
    altering.join()
    assert len(found) == 2 and found[0].snapshot != found[1].snapshot
    assert b"late integer" in data


def test_export_snapshot_lists_changed_tables_again(stage: Stage) -> None:
    engine, found = stage.engine, []
    # To drop a table with a foreign key, the lock of the other table is needed, which the dump may hold.
    stage.sql("CREATE TABLE older AS SELECT generate_series(1, 2)")

    def run() -> None:
        found.append(ask_during_dump(engine, {}))

    thread = threading.Thread(target=run)
    with stage.server.connect(stage.name) as other, other.transaction():
        other.execute("LOCK TABLE older IN ACCESS EXCLUSIVE MODE")
        thread.start()
        wait_for_lock_waiter(stage)
        other.execute("DROP TABLE older")
        other.execute("CREATE TABLE newer AS SELECT generate_series(1, 3)")
    thread.join()
    assert found[0].row_counts == {"public.item": 200, "public.part": 100, "public.newer": 3}


@pytest.mark.postgres(15, 18)
def test_dump_without_room_for_locks_names_the_setting(stage: Stage) -> None:
    create = "EXECUTE format('CREATE TABLE more_%s ()', n)"
    stage.sql(f"DO $$ BEGIN FOR n IN 1..300 LOOP {create}; END LOOP; END $$")
    fill = "SELECT count(pg_advisory_xact_lock(n)) FROM generate_series(%s::bigint, %s::bigint) n"
    with (
        stage.server.connect(superuser=True) as spare,
        stage.server.connect(superuser=True) as other,
        other.transaction(),
    ):
        with spare.transaction():
            spare.execute(fill, [-100, -1])
            last = 0
            for step in (1000, 100, 10):
                with contextlib.suppress(psycopg.errors.OutOfMemory):
                    while True:
                        with other.transaction():
                            other.execute(fill, [last + 1, last + step])
                        last += step
        with pytest.raises(DatabaseError, match="no room for a lock on each of the 302 tables") as caught:
            ask_during_dump(stage.engine, {})
    (setting,) = re.findall(r"SET max_locks_per_transaction = (\d+);", str(caught.value))
    assert int(setting) > 64
    assert ask_during_dump(stage.engine, {}).row_counts["public.more_300"] == 0
