"""Restores while a worker and beat are running: refused, with the workers stopped, or harmless."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from celery import Celery

from tests.docs.pages import assert_shown
from tests.management.commands import Done, run_many
from tests.management.state import leftovers
from tests.services.project import Project
from tests.services.redis import RedisServer
from tests.tasks.celery_app import DATABASE_SCHEDULER, SECONDS, beat, worker

JOBS = """
import json
import time
from pathlib import Path
from celery import shared_task
from django.db import connection, transaction

TABLES = ("accounts_account", "automation_run", "content_tag", "igny8_sites_pageview")
COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
VISIT = "INSERT INTO django_session VALUES (gen_random_uuid()::text, '', now())"

@shared_task(name="gate")
def gate(path):
    while Path(path).exists():
        time.sleep(0.05)

@shared_task(name="hammer")
def hammer(path):
    with open(path, "a") as seen:
        for _ in range(10):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(VISIT)
                cursor.execute(COUNTS)
                seen.write(json.dumps(cursor.fetchone()) + "\\n")
            seen.flush()
"""

# Connects the signals in the settings, as an application would in an app's ready().
LISTENING = """
import time
from pathlib import Path
from igny8_backup.signals import phase_ended, phase_started

def receive(operation, phase, error=None, **facts):
    if operation == "backup":
        return
    with open({log!r}, "a") as log:
        log.write(phase + (" begins" if error is None else f" ends {{error}}".rstrip()) + "\\n")
    if phase == "prepare" and error is None:
        while Path({hold!r}).exists():
            time.sleep(0.05)

for signal in (phase_started, phase_ended):
    signal.connect(receive, weak=False)
"""

EVERY = """
from datetime import timedelta
CELERY_BEAT_SCHEDULE = {{"hammer": {{
    "task": "hammer", "schedule": timedelta(seconds=0.1), "args": [{path!r}], "options": {{"expires": 5}}
}}}}
"""


def add_settings(project: Project, source: str) -> None:
    settings = Path(project.folder, "settings/further_settings.py")
    settings.write_text(settings.read_text() + source)
    (settings.parent / "jobs.py").write_text(JOBS)


def back_up(project: Project) -> None:
    (done,) = run_many(project, ["backup_db"])
    done.ended(0)


def restore(project: Project, *options: str) -> Done:
    """Run a command in a process that fails if it leaves a connection to the broker open."""
    named = ["--noinput", "--database-name", project.database, "--identity", str(project.identity)]
    (done,) = run_many(project, ["restore_all", "--only", "db", *named, *options])
    return done


def test_restore_running_workers_are_refused_or_stopped(
    queued: Project, app: Celery, redis_server: RedisServer
) -> None:
    project, gate, log, hold = (queued, queued.folder / "shut", queued.folder / "log", queued.folder / "hold")
    add_settings(project, LISTENING.format(log=str(log), hold=str(hold)))
    ten_days_ago = datetime.now(UTC) - timedelta(days=10)
    periodic(project, ten_days_ago)
    back_up(project)
    project.sql("DELETE FROM django_celery_beat_periodictask")
    gate.touch()
    try:
        with worker(project, "busy", "--pool=prefork", "--include=jobs") as busy:
            refused = restore(project).ended(4)
            assert "1 worker is running (busy@test). Stop the workers" in refused.stderr
            assert_shown(refused.stderr.replace("busy@test", "celery@web-1"))
            app.send_task("gate", [str(gate)])
            busy.wait_for("Task gate[")
            late = restore(project, "--stop-workers", "--stop-timeout", "0.5").ended(4)
            assert "Tasks are still running: gate on busy@test." in late.stderr
            assert_shown(late.stderr.replace("gate on busy@test", "publishing.publish on celery@web-1"))
            assert "the workers accept tasks again" in late.stderr
            gate.unlink()
            app.send_task("gate", [str(gate)])
            busy.wait_for("succeeded in", times=2)
            assert leftovers(project) == [] and not log.exists()

            app.send_task("gate", [str(gate)], countdown=3600)
            busy.wait_for("Task gate[", times=3)
            begun = datetime.now(UTC)
            done = restore(project, "--stop-workers", "--purge-queue", "--json").ended(0)
            assert busy.process.wait(SECONDS) == 0
        assert (done.json["stopped"], done.json["purged"], done.json["warnings"]) == (["busy@test"], 1, [])
    finally:
        gate.unlink(missing_ok=True)
    assert redis_server.command("LLEN celery") == b":0\r\n"
    phases = log.read_text().split("\n")[:-1]
    assert phases == [
        "prepare begins", "migrate begins", "migrate ends", "prepare ends",
        "swap begins", "swap ends", "check begins", "check ends",
    ]  # fmt: skip
    check_times(project, begun)
    beat_runs_nothing_that_was_missed(project)
    a_worker_that_comes_back_is_seen_before_the_swap(project, log, hold)


def periodic(project: Project, then: datetime) -> None:
    """Periodic tasks: one every second, one daily, one that never ran, one that starts later."""
    columns = "name, task, interval_id, last_run_at, date_changed, start_time, enabled, one_off, "
    columns += "total_run_count, args, kwargs, description, headers"
    for name, seconds, last, start in (
        ("tick", 1, then, None),
        ("nightly", 86400, then, None),
        ("new", 86400, None, None),
        ("later", 86400, None, datetime.now(UTC) + timedelta(days=1)),
    ):
        ((interval,),) = project.sql(
            "INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (%s, 'seconds')"
            " RETURNING id",
            seconds,
        )
        project.sql(
            f"INSERT INTO django_celery_beat_periodictask ({columns}) VALUES"
            " (%s, 'gate', %s, %s, %s, %s, true, false, 0, '[\"x\"]', '{}', '', '{}')",
            name, interval, last, then, start,
        )  # fmt: skip
    project.sql("INSERT INTO django_celery_beat_periodictasks VALUES (1, %s)", then)


def check_times(project: Project, begun: datetime) -> None:
    """All last-run times are that of the restore, except for the task that starts later."""
    found = dict(project.sql("SELECT name, last_run_at FROM django_celery_beat_periodictask"))
    assert found.pop("later") is None
    assert sorted(found) == ["new", "nightly", "tick"] and min(found.values()) > begun
    ((changed,),) = project.sql("SELECT last_update FROM django_celery_beat_periodictasks")
    assert changed > begun


def beat_runs_nothing_that_was_missed(project: Project) -> None:
    with beat(project, *DATABASE_SCHEDULER) as clock:
        clock.wait_for("Sending due task tick", times=2)
    assert "nightly" not in clock.output and "Sending due task new" not in clock.output


def a_worker_that_comes_back_is_seen_before_the_swap(project: Project, log: Path, hold: Path) -> None:
    log.unlink()
    hold.touch()
    before = project.databases()
    found: list[Done] = []
    restoring = Thread(target=lambda: found.append(restore(project)))
    restoring.start()
    try:
        deadline = time.monotonic() + SECONDS
        while not log.exists():
            assert restoring.is_alive() and time.monotonic() < deadline
            time.sleep(0.05)
        with worker(project, "back", "--pool=solo", "--include=jobs"):
            hold.unlink()
            restoring.join()
    finally:
        hold.unlink(missing_ok=True)
        restoring.join()
    (done,) = found
    assert "1 worker is running (back@test)." in done.ended(4).stderr
    assert "Nothing live was changed." in done.stderr
    assert "swap begins" not in log.read_text()
    assert project.databases() == before


def test_restore_tasks_see_old_or_new_data_only(queued: Project) -> None:
    project, seen = queued, queued.folder / "seen"
    add_settings(project, EVERY.format(path=str(seen)))
    new = counts(project)
    back_up(project)
    project.sql("DELETE FROM automation_run")
    project.sql("INSERT INTO content_tag (name) VALUES ('one more'), ('and another')")
    old = counts(project)

    def observed() -> list[Any]:
        return [json.loads(line) for line in seen.read_text().splitlines()] if seen.exists() else []

    with worker(project, "hammering", "--pool=prefork", "--include=jobs") as hammering, beat(project):
        hammering.wait_until(lambda: len(observed()) > 50)
        during = len(observed())
        done = restore(project, "--ignore-workers").ended(0)
        during = len(observed()) - during
        hammering.wait_until(lambda: observed()[-50:] == [new] * 50)
        (undone,) = run_many(project, ["undo_restore"])
        assert "1 worker is running (hammering@test). Nothing live was changed." in undone.ended(4).stderr
    assert "1 worker is running (hammering@test) and will keep running" in done.stdout
    found = observed()
    first = found.index(new)
    assert first > 50 and during > 50, "it went on while the restore was under way"
    assert set(map(tuple, found[:first])) == {tuple(old)}
    assert set(map(tuple, found[first:])) == {tuple(new)}


def counts(project: Project) -> list[int]:
    tables = ("accounts_account", "automation_run", "content_tag", "igny8_sites_pageview")
    return [project.sql(f"SELECT count(*) FROM {table}")[0][0] for table in tables]
