"""Deployment checks: what would go wrong in the next scheduled backup."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from igny8_backup.conf import Problem
from igny8_backup.operations import deploy_checks
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.guards import folders, legacy_dumps
from igny8_backup.operations.restore import other_workers
from igny8_backup.schedules import beat_schedule
from tests.trees.tools import in_child


def ids(problems: list[Problem]) -> list[str]:
    return [problem.id.removeprefix("igny8_backup.") for problem in problems]


def test_missing_trees_reports_a_missing_tree(context: BackupContext, trees: tuple[Path, Path]) -> None:
    assert deploy_checks.missing_trees(context.config) == []
    trees[1].rename(trees[1].with_name("away"))
    (problem,) = deploy_checks.missing_trees(context.config)
    assert problem.id.endswith("W002") and str(trees[1]) in problem.message


def test_folders_that_this_user_cannot_create_are_reported(context: BackupContext, settings: Any) -> None:
    assert folders.problems(context.config) == []
    state, scratch = Path("/nowhere/state"), Path("/etc/passwd/scratch")
    moved = replace(context.config, state_dir=state, scratch_dir=scratch)
    storage = {**settings.STORAGES["dbbackup"], "OPTIONS": {"location": "/nowhere/my backups"}}
    settings.STORAGES = {**settings.STORAGES, "dbbackup": storage}
    found = in_child(
        lambda: [(problem.id, str(problem)) for problem in folders.problems(moved)], as_nobody=True
    )
    assert {number for number, _ in found} == {"igny8_backup.W008"}
    of_state, of_scratch, of_backups = (text for _, text in found)
    assert f"STATE_DIR ({state}) cannot be used: the user of this process may not write to /." in of_state
    assert f"SCRATCH_DIR ({scratch}) cannot be used: /etc/passwd is not a folder" in of_scratch
    assert "mkdir -p '/nowhere/my backups' && chown APPUSER '/nowhere/my backups'" in of_backups


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no.such.function", "cannot be imported: No module named 'no'"),
        ("os.path.nothing", 'cannot be imported: Module "os.path" does not define a "nothing"'),
        ("os.path.sep", "is not a function"),
    ],
)
def test_workers_that_names_no_function_is_reported(context: BackupContext, path: str, why: str) -> None:
    (problem,) = other_workers.problems(replace(context.config, workers=path))
    assert problem.id.endswith("W014") and f"['WORKERS'] ({path}) {why}" in problem.message
    assert other_workers.problems(replace(context.config, workers="os.listdir")) == []


def test_other_queue_without_workers_is_reported(
    context: BackupContext, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    assert other_workers.problems(context.config) == []
    monkeypatch.setattr(django_settings, "INSTALLED_APPS", ["django_rq"])
    (problem,) = other_workers.problems(context.config)
    assert problem.id.endswith("W014") and "the workers of RQ" in problem.message


def test_unset_host_in_a_container_is_reported(context: BackupContext, settings: Any, tmp_path: Path) -> None:
    mark = tmp_path / ".dockerenv"
    assert deploy_checks.unset_host(context.config, (mark,)) == []
    mark.touch()
    assert deploy_checks.unset_host(context.config, (mark,)) == [], "HOST is set"
    settings.IGNY8_BACKUP = {"ENCRYPTION": None}
    assert ids(deploy_checks.unset_host(context.config, (mark,))) == ["W003"]
    mark.unlink()
    assert deploy_checks.unset_host(context.config, (mark,)) == []


def test_undeclared_host_is_reported(context: BackupContext) -> None:
    assert deploy_checks.undeclared_host(context.config) == []
    assert deploy_checks.undeclared_host(replace(context.config, hosts={"web-1": {}})) == []
    assert ids(deploy_checks.undeclared_host(replace(context.config, hosts={"web-2": {}}))) == ["W019"]


def test_absent_schedule_without_backup_task_is_reported(settings: Any) -> None:
    other = {"mail": {"task": "newsletter.send"}}
    settings.CELERY_BEAT_SCHEDULE = other
    assert ids(deploy_checks.absent_schedule()) == ["W004"]
    settings.CELERY_BEAT_SCHEDULE = {**other, **beat_schedule()}
    assert deploy_checks.absent_schedule() == []


def test_readable_secrets_unencrypted_sessions_are_reported(context: BackupContext) -> None:
    clear = replace(context.config, databases=("default",), encryption=None, debug=False)
    (problem,) = deploy_checks.readable_secrets(clear)
    assert problem.id.endswith("W005") and "django.contrib.sessions" in problem.message
    assert deploy_checks.readable_secrets(replace(clear, databases=())) == []
    assert deploy_checks.readable_secrets(replace(clear, debug=True)) == []
    for table, expected in (("django_session", 0), ('public."django_session"', 0), ("django_site", 1)):
        left_out = replace(clear, exclude_table_data={"default": (table,)})
        assert len(deploy_checks.readable_secrets(left_out)) == expected


TOKENS = """
from django.db import models

class AuthToken(models.Model):
    id = models.AutoField(primary_key=True)
"""


def test_readable_secrets_unencrypted_tokens_are_reported(
    context: BackupContext, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib/knox").mkdir(parents=True)
    (tmp_path / "lib/knox/__init__.py").touch()
    (tmp_path / "lib/knox/models.py").write_text(TOKENS)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "knox"]
    clear = replace(context.config, databases=("default",), encryption=None, debug=False)
    (problem,) = deploy_checks.readable_secrets(clear)
    assert "(django.contrib.sessions, knox)" in problem.message
    left_out = replace(clear, exclude_table_data={"default": ("django_session",)})
    (problem,) = deploy_checks.readable_secrets(left_out)
    assert "(knox)" in problem.message


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.dump", b"PGDMP\x01\x0e", True),
        ("b.sql", b"--\n-- PostgreSQL database dump\n--", True),
        ("c.sqlite3", b"SQLite format 3\0", True),
        ("d e.sql", b"-- MySQL dump 10.13", True),
        ("-f.sql", b"-- MySQL dump 10.13", True),
        ("G.SQL", b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19", True),
        ("h.sql", b"/*!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19", True),
        ("i.SQLite3", b"SQLite format 3\0", True),
        ("e.sql", b"SELECT 1;", False),
        ("f.dump", b"", False),
        ("g.txt", b"PGDMP", False),
        ("node_modules/h.dump", b"PGDMP", False),
    ],
)
def test_legacy_dumps_finds_dumps_by_name_and_content(
    context: BackupContext, tmp_path: Path, name: str, head: bytes, expected: bool
) -> None:
    root = tmp_path / "project"
    path = root / "app" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(head)
    found = legacy_dumps.problems(context.config, root)
    assert ids(found) == ["W006"] * expected
    if expected:
        git(root, "init", "--quiet")
        git(root, "add", "--all")
        (command,) = re.findall("`(.*)`", found[0].hint)
        subprocess.run(["sh", "-c", command], cwd="/", check=True)
        assert git(root, "ls-files") == "" and path.exists()


def git(folder: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_legacy_dumps_unreadable_files_are_ignored(context: BackupContext, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.sql")
    (tmp_path / "b.sql").symlink_to("nowhere")
    (tmp_path / "c.sql").mkdir()
    assert legacy_dumps.problems(context.config, tmp_path) == []


def test_legacy_dumps_state_of_this_package_is_ignored(context: BackupContext, tmp_path: Path) -> None:
    documents = context.config.state_dir / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    (documents / "read.sqlite3").write_bytes(b"SQLite format 3\0")
    assert context.config.state_dir.is_relative_to(tmp_path)
    assert legacy_dumps.problems(context.config, tmp_path) == []
    other = tmp_path / "app" / context.config.state_dir.name / "a.sqlite3"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"SQLite format 3\0")
    assert ids(legacy_dumps.problems(context.config, tmp_path)) == ["W006"]


def test_legacy_dumps_database_in_use_is_ignored(
    context: BackupContext, settings: Any, tmp_path: Path
) -> None:
    path = tmp_path / "db.sqlite3"
    path.write_bytes(b"SQLite format 3\0")
    assert len(legacy_dumps.problems(context.config, tmp_path)) == 1
    before = settings.DATABASES["default"]["NAME"]
    settings.DATABASES["default"]["NAME"] = path
    try:
        assert legacy_dumps.problems(context.config, tmp_path) == []
    finally:
        settings.DATABASES["default"]["NAME"] = before
