"""Errors of migrations are reported without values of rows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.operations.conftest import Saved
from tests.services.project import PYTHON

SECRET = "sentinel-7c@tenant.example"
SETTINGS = """
from project.settings import *
INSTALLED_APPS += ["later"]
"""
MIGRATION = f'''
import os, sys, logging
from django.core.management import CommandError
from django.db import migrations

def number(apps, editor):
    apps.get_model("accounts", "User").objects.filter(id="{SECRET}").count()
def key(apps, editor):
    print("{SECRET}", file=sys.stderr, flush=True)
    logging.getLogger("django").error("{SECRET}")
    {{}}["{SECRET}"]
def refused(apps, editor):
    raise CommandError("{SECRET}")
def leave(apps, editor):
    sys.exit("{SECRET}")

STATEMENTS = {{
    "statement": "UPDATE accounts_user SET emial = '{SECRET}'",
    "unit": "SELECT date_trunc('{SECRET}', now())",
    "raised": "DO $$ BEGIN RAISE '{SECRET} is no name'; END $$",
    "twice": "UPDATE accounts_user SET username = '{SECRET}'",
}}
case = os.environ["CASE"]

class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial" if case != "nowhere" else "0815_nowhere")]
    operations = [
        migrations.RunSQL(STATEMENTS[case]) if case in STATEMENTS
        else migrations.RunPython(globals().get(case, number))
    ]
'''
CASES = {
    "number": ("ValueError in ", "is not shown"),
    "key": ("KeyError in ", "0001_initial.py, line 11", "is not shown"),
    "refused": ("CommandError in ", "is not shown"),
    "leave": ("SystemExit in ", "is not shown"),
    "statement": ('UndefinedColumn: column "emial" of relation "accounts_user" does not exist',),
    "unit": ("InvalidParameterValue, SQLSTATE 22023", "is not shown"),
    "raised": ("RaiseException, SQLSTATE P0001", "is not shown"),
    "twice": ("UniqueViolation: duplicate key value", "Key (username)=(********) already exists"),
}


def test_failed_migration_is_reported_without_values(saved: Saved, tmp_path: Path) -> None:
    """The transaction is rolled back, so no staging database is needed."""
    project = saved.project
    (tmp_path / "later/migrations").mkdir(parents=True)
    (tmp_path / "later/__init__.py").touch()
    (tmp_path / "later/migrations/__init__.py").touch()
    (tmp_path / "later/migrations/0001_initial.py").write_text(MIGRATION)
    (tmp_path / "further_settings.py").write_text(SETTINGS)
    for case, words in {**CASES, "nowhere": ("NodeNotFoundError", "0815_nowhere")}.items():
        done = subprocess.run(
            [*PYTHON, "-m", "igny8_backup.operations.staging.project_code.sandbox"],
            input=json.dumps({"names": {"default": project.database}, "work": "migrate"}),
            capture_output=True,
            text=True,
            env={
                **project.environment,
                "PYTHONPATH": f"{tmp_path}:{project.environment['PYTHONPATH']}",
                "DJANGO_SETTINGS_MODULE": "further_settings",
                "CASE": case,
            },
        )
        assert (done.returncode, done.stdout) == (1, ""), (case, done)
        assert "tenant.example" not in done.stderr and "Traceback" not in done.stderr, (case, done.stderr)
        assert all(word in done.stderr for word in words), (case, done.stderr)
        assert ("later.0001_initial: " in done.stderr) == (case in CASES), done.stderr
    assert project.sql("SELECT 1 FROM django_migrations WHERE app = 'later'") == []
