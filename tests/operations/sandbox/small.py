"""A small Django project in a folder of its own, which its own ``manage.py`` starts as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from demo.server import PostgresServer

from tests.management.commands import Done
from tests.services.project import base_environment, consenting

MANAGE = """
import os, sys
if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
SETTINGS = """
import os
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "a key for tests"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "igny8_backup", "shop"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["SMALL_NAME"], "HOST": "127.0.0.1",
    "PORT": os.environ["SMALL_PORT"], "USER": os.environ["SMALL_USER"],
    "PASSWORD": os.environ["SMALL_PASSWORD"],
}}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "dbbackup": {"BACKEND": "django.core.files.storage.FileSystemStorage",
                 "OPTIONS": {"location": str(BASE_DIR / "storage")}},
}
IGNY8_BACKUP = {
    "ENCRYPTION": None, "HOST": "web-1", "STATE_DIR": str(BASE_DIR / "state"),
    "SCRATCH_DIR": str(BASE_DIR / "scratch"), "CLIENT_BIN_DIR": os.environ["SMALL_BIN_DIR"],
}
"""
APPS = """
from django.apps import AppConfig
class ShopConfig(AppConfig):
    name = "shop"
"""
MODELS = """
from django.db import models
class Order(models.Model):
    customer = models.CharField(max_length=100)
"""
FIRST = """
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.CreateModel(name="Order", fields=[
        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
        ("customer", models.CharField(max_length=100))])]
"""
REPOSITORY = Path(__file__).resolve().parents[3]
RESTORE = ("restore_all", "--noinput", "--only", "db")


def migration(
    body: str, *, after: str = "0001_initial", operations: str = "migrations.RunPython(work)"
) -> str:
    """Return the source of a migration of the app. ``body`` defines ``work(apps, editor)`` at least."""
    return (
        f"from django.db import migrations, models\n{body}\nclass Migration(migrations.Migration):\n"
        f"    dependencies = [('shop', '{after}')]\n    operations = [{operations}]\n"
    )


class SmallProject:
    """A project with one app, ``shop``, and an empty database on ``server``."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.database = f"small_{uuid.uuid4().hex[:12]}"
        self.start: list[str] = ["manage.py"]
        self.environment = base_environment(folder) | {
            "SMALL_NAME": self.database,
            "SMALL_PORT": str(server.port),
            "SMALL_USER": server.role,
            "SMALL_PASSWORD": server.password,
            "SMALL_BIN_DIR": str(server.bin_dir),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(":")]),
        }
        for name in ("storage", "scratch"):
            (folder / name).mkdir()
        self.write("manage.py", MANAGE)
        self.write("settings.py", SETTINGS)
        self.write("shop/__init__.py", "")
        self.write("shop/apps.py", APPS)
        self.write("shop/models.py", MODELS)
        self.write("shop/migrations/__init__.py", "")
        self.write("shop/migrations/0001_initial.py", FIRST)
        server.create_database(self.database)

    @property
    def restore(self) -> tuple[str, ...]:
        """The command that restores the database without asking."""
        return (*RESTORE, "--database-name", self.database)

    def write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def add(self, path: str, text: str) -> None:
        """Add lines to a file."""
        self.write(path, f"{(self.folder / path).read_text()}\n{text}\n")

    def run(self, *argv: str, env: Mapping[str, str] | None = None) -> Done:
        """Run a management command as the project's own program does."""
        done = subprocess.run(
            [sys.executable, *self.start, *consenting(argv)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            timeout=300,
        )
        return Done(list(argv), done.returncode, done.stdout, done.stderr)

    def prepare(self) -> None:
        """Migrate the database and back it up."""
        self.run("migrate", "--verbosity=0").ended(0)
        self.run("backup_db").ended(0)

    def sql(self, query: str, database: str = "") -> list[tuple[object, ...]]:
        with self.server.connect(database or self.database) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        with self.server.connect() as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [self.database]
            ).fetchall()
        for (name,) in found:
            self.server.drop_database(name)
