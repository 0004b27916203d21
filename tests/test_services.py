"""The servers and the project that other tests use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.services import unavailable
from tests.services.project import Project
from tests.services.redis import RedisServer, installed

pytestmark = pytest.mark.services


def test_redis_server_answers(redis_server: RedisServer) -> None:
    assert redis_server.command("SET", "key", "value").startswith(b"+OK")
    assert b"value" in redis_server.command("GET", "key")


def test_redis_server_ends_with_its_block(tmp_path: Path) -> None:
    program = installed()
    if program is None:
        unavailable("redis-server is not installed.")
    with RedisServer(program, tmp_path) as server:
        assert server.command("PING") == b"+PONG\r\n"
    with pytest.raises(ConnectionRefusedError):
        server.command("PING")
    assert [path.name for path in tmp_path.iterdir()] == ["redis.log"]


def python(project: Project, source: str, **env: str) -> str:
    """Run Python code in the project and return its output."""
    return project.run("shell", "--no-imports", "-c", source, env=env, check=True).stdout


def test_project_worker_executes_tasks(project: Project, redis_server: RedisServer) -> None:
    project.seed_small()
    waiting = "SELECT count(*) FROM automation_run WHERE state = 'queued'"
    before = project.sql(waiting)[0][0]
    run = project.sql("SELECT min(id) FROM automation_run WHERE state = 'queued'")[0][0]
    with project.worker(redis_server.url):
        send = f"from automation.tasks import finish_run; finish_run.delay({run})"
        python(project, send, CELERY_BROKER_URL=redis_server.url)
        deadline = time.monotonic() + 60
        while project.sql(waiting)[0][0] == before and time.monotonic() < deadline:
            time.sleep(0.1)
    assert project.sql(waiting)[0][0] == before - 1


def test_project_does_not_inherit_the_shell(project: Project) -> None:
    os.environ["IGNY8_BACKUP_PREFIX"] = "of-the-shell/"
    try:
        printed = python(project, "from django.conf import settings as s; print(s.IGNY8_BACKUP, s.DEBUG)")
    finally:
        del os.environ["IGNY8_BACKUP_PREFIX"]
    assert "of-the-shell" not in printed
    assert project.recipient in printed and "False" in printed


def test_project_accepts_further_settings(project: Project) -> None:
    project.settings('IGNY8_BACKUP["HOST"] = "another"')
    assert "another" in python(
        project, "from django.conf import settings as s; print(s.IGNY8_BACKUP['HOST'])"
    )


def test_projects_have_separate_databases(project: Project) -> None:
    project.sql("INSERT INTO content_tag (name) VALUES ('mine')")
    assert project.sql("SELECT count(*) FROM content_tag") == [(1,)]
    assert project.sql("SELECT count(*) FROM content_tag", database="project_template") == [(0,)]
    assert project.databases() == [project.database]


def test_project_run_with_check_raises_on_failure(project: Project) -> None:
    assert project.run("no-such-command").returncode == 1
    with pytest.raises(AssertionError, match="no-such-command ended with 1"):
        project.run("no-such-command", check=True)
