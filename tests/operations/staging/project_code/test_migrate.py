"""Migrations run in the staging database and cannot write to any other."""

from __future__ import annotations

from pathlib import Path

from tests.management.commands import run_many
from tests.operations.conftest import Saved

SETTINGS = """
from project.settings import *
INSTALLED_APPS += ["later"]
DATABASES["elsewhere"] = {**DATABASES["default"]}
DATABASE_ROUTERS = ["further_settings.OnlyDefault"]

class OnlyDefault:
    def db_for_read(self, model, **hints):
        return "default"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"
"""
# As in many projects, without the alias of the schema editor: with a second alias it would write to the
# live database.
MIGRATION = """
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, migrations
from content.models import Tag

def write(apps, schema_editor):
    Tag.objects.create(name="by a migration")
    try:
        connections["elsewhere"].cursor()
    except ImproperlyConfigured:
        return
    raise RuntimeError("another alias was reached")

class Migration(migrations.Migration):
    dependencies = [("content", "0001_initial")]
    operations = [migrations.RunPython(write)]
"""
WRITTEN = "SELECT count(*) FROM content_tag WHERE name = 'by a migration'"


def test_migration_without_alias_writes_into_the_staging_database(saved: Saved, tmp_path: Path) -> None:
    project = saved.project
    (tmp_path / "later/migrations").mkdir(parents=True)
    (tmp_path / "later/__init__.py").touch()
    (tmp_path / "later/migrations/__init__.py").touch()
    (tmp_path / "later/migrations/0001_initial.py").write_text(MIGRATION)
    (tmp_path / "further_settings.py").write_text(SETTINGS)
    env = {
        "PYTHONPATH": f"{tmp_path}:{project.environment['PYTHONPATH']}",
        "DJANGO_SETTINGS_MODULE": "further_settings",
        "IGNY8_BACKUP_DATABASES": "default",
    }
    done, undone = run_many(project, [*saved.restore, "--only", "db"], ["undo_restore"], env=env)
    done.ended(0)
    undone.ended(0)
    (previous,) = [name for name in project.databases() if name != project.database]
    assert project.sql(WRITTEN, database=previous) == [(1,)]
    assert project.sql(WRITTEN) == [(0,)], "what was live was not written to"
    (discarded,) = run_many(project, ["undo_restore", "--discard", "--noinput"])
    discarded.ended(0)
