"""A project starts with this app installed, whatever is missing or wrong: real processes, real settings."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from igny8_backup.checks import TAG
from igny8_backup.conf import Config, problems
from tests.services import hidden

pytestmark = pytest.mark.slow

REPOSITORY = str(Path(__file__).resolve().parents[1])
SETTINGS = """
from pathlib import Path
BASE_DIR = Path({folder!r})
DEBUG, SECRET_KEY = True, "a key for tests"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "igny8_backup"]
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}},
    "shop": {{"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": str(BASE_DIR)}},
}}
STORAGES = {{
    "default": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "staticfiles": {{"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
    "dbbackup": {{
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {{"location": BASE_DIR / "backups"}},
    }},
}}
IGNY8_BACKUP = {{"HOST": "web-1", "ENCRYPTION": None}}
"""
NEITHER = ("psycopg", "psycopg2")
OPTIONAL = ("celery", "kombu", "redis", "boto3", "botocore", "storages", *NEITHER, "django_celery_beat")
REQUIRED = ("pyrage", "pathspec", "rich", "dbbackup", "backports", "backports.zstd")
OLD_SETTINGS = {
    "DBBACKUP_STORAGE": "django.core.files.storage.FileSystemStorage",
    "DBBACKUP_STORAGE_OPTIONS": {"location": "/var/backups"},
    "DBBACKUP_CONNECTORS": 7,
    "DBBACKUP_CONNECTOR_MAPPING": None,
}
WRONG: tuple[object, ...] = (
    None,
    True,
    -1,
    float("nan"),
    "",
    "x",
    "\0",
    "\ud800",
    b"x",
    [],
    [None],
    {},
    {None: None},
    {"x": None},
)
"""Values that are wrong for most settings."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def without_temporary_folder() -> None:
    """Let every write to a file fail, so that Python finds no usable temporary folder."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.fixture
def manage(tmp_path: Path) -> Run:
    """Run ``django-admin`` in a project of its own; ``more`` is further source of its settings."""

    def run(
        *argv: str,
        more: str = "",
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "project_settings.py").write_text(SETTINGS.format(folder=str(tmp_path)) + more)
        paths = os.pathsep.join(filter(None, [(env or {}).get("PYTHONPATH"), REPOSITORY, str(tmp_path)]))
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-B", "-m", "django", *argv],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "DJANGO_SETTINGS_MODULE": "project_settings",
                **(env or {}),
                "PYTHONPATH": paths,
            },
            preexec_fn=before,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def assert_starts(manage: Run, env: Mapping[str, str] | None = None, **how: object) -> str:
    """Check the project as ``runserver`` and ``migrate`` do, and for deployment; return what was reported."""
    done = manage("check", env=env, **how)
    assert done.returncode == 0, done.stderr
    deploy = manage("check", "--deploy", "--tag", TAG, env=env, **how)
    assert "Traceback" not in done.stderr + deploy.stderr, deploy.stderr
    return done.stdout + done.stderr + deploy.stdout + deploy.stderr


def test_project_without_optional_packages_starts(manage: Run) -> None:
    text = assert_starts(manage, env=hidden(*OPTIONAL))
    assert "W009" not in text
    assert "igny8_backup.E041" in text and "pip install 'igny8-backup[postgres]'" in text


@pytest.mark.parametrize("module", REQUIRED)
def test_project_without_required_package_starts_and_reports_it(manage: Run, module: str) -> None:
    excluding = 'IGNY8_BACKUP |= {"SITES": {"media": str(BASE_DIR)}, "EXCLUDE": {"media": ["*.tmp"]}}'
    text = assert_starts(manage, env=hidden(module), more=excluding)
    assert "W009" in text or "E041" in text or module == "rich", "only commands need rich"


@pytest.mark.parametrize("name", OLD_SETTINGS)
def test_project_with_old_dbbackup_settings_starts(manage: Run, name: str) -> None:
    more = f"{name} = {OLD_SETTINGS[name]!r}\n"
    assert_starts(manage, more=more)
    done = manage("backup_db", "shop", more=more)
    if name == "DBBACKUP_CONNECTOR_MAPPING":  # the server is asked, and there is none
        return
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and "Nothing was read or written." in done.stderr
    assert (f"Remove {name} from the settings" if "STORAGE" in name else "Correct DBBACKUP_") in done.stderr


def test_project_without_temporary_folder_starts(manage: Run) -> None:
    text = assert_starts(manage, before=without_temporary_folder)
    assert "igny8_backup.E027" in text
    done = manage("list_backups", before=without_temporary_folder)
    assert done.returncode == 2 and "SCRATCH_DIR" in done.stderr and "Traceback" not in done.stderr
    more = "IGNY8_BACKUP['SCRATCH_DIR'] = BASE_DIR / 'scratch'\n"
    assert_starts(manage, more=more, before=without_temporary_folder)
    done = manage("backup_db", "shop", more=more, before=without_temporary_folder)
    assert done.returncode and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["backup_db", "shop"], ["backup_all"]])
def test_command_without_driver_ends_with_4_and_the_line_to_run(
    manage: Run, tmp_path: Path, command: list[str]
) -> None:
    done = manage(*command, env=hidden(*NEITHER))
    assert done.returncode == 4, done.stderr
    assert "pip install 'igny8-backup[postgres]'" in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "backups").mkdir()
    assert manage("list_backups", env=hidden(*NEITHER)).returncode == 0, "it needs no database"


def test_driver_that_lacks_a_library_is_named(manage: Run) -> None:
    done = manage("backup_db", "shop", env={**hidden("psycopg2"), "PSYCOPG_IMPL": "c"})
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert re.search(r"psycopg is installed, but it cannot be imported: .*psycopg_c", done.stderr)


def test_tasks_without_driver_can_be_imported(manage: Run) -> None:
    done = manage("shell", "-v", "0", "-c", "import igny8_backup.tasks", env=hidden(*NEITHER))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("value", [7, None, {"UNKNOWN": 1}, {"SITES": 7}, {"ENCRYPTION": {"RECIPIENTS": 7}}])
def test_project_with_wrong_settings_starts(manage: Run, value: object) -> None:
    assert_starts(manage, more=f"IGNY8_BACKUP = {value!r}\n")


def test_project_shows_no_url_of_a_notification(manage: Run) -> None:
    source = (
        "import sys; from django.core.management import call_command; from django.views import debug;"
        " call_command('diffsettings', all=True);"
        " print(debug.ExceptionReporter(None, KeyError, KeyError(), None).get_traceback_html())"
    )
    done = manage("shell", "-v", "0", "-c", source, more="IGNY8_BACKUP['NOTIFY'] = ['slack://T0KEN/a']\n")
    assert done.returncode == 0 and done.stdout.count("NOTIFY") == 2, done.stderr
    assert "T0KEN" not in done.stdout + done.stderr


def test_project_with_notifications_and_without_apprise_starts_and_reports_it(manage: Run) -> None:
    text = assert_starts(manage, env=hidden("apprise"), more="IGNY8_BACKUP['NOTIFY'] = ['slack://T0KEN/a']\n")
    assert "igny8_backup.W050" in text and "pip install 'igny8-backup[notify]'" in text


def test_problems_of_any_settings_raise_nothing() -> None:
    """Each key, and each key below a key, has values of wrong types; the checks report them."""
    for key in (*(field.name.upper() for field in fields(Config)), "MONITOR"):
        for value in WRONG:
            for wrong in (value, {"default": value}, {"RECIPIENTS": value, "IDENTITY_FILE": value}):
                with override_settings(IGNY8_BACKUP={key: wrong}):
                    problems()
                    run_checks(tags=[TAG])


def test_setup_imports_nothing_that_can_be_missing(manage: Run) -> None:
    """The app is set up before anything is known to work, so it imports its own modules only when needed."""
    source = "import json, sys; print(json.dumps([n for n in sys.modules if n.split('.')[0] in {}]))"
    names = (*OPTIONAL, *REQUIRED, "igny8_backup")
    done = manage("shell", "-v", "0", "-c", source.format(names), more="DATABASES.pop('shop')\n")
    assert json.loads(done.stdout) == [
        "igny8_backup",
        "igny8_backup.apps",
        "igny8_backup.models",
        "igny8_backup.common",
        "igny8_backup.common.outside",
        "igny8_backup.checks",
        "igny8_backup.common.hidden",
    ], done.stderr
