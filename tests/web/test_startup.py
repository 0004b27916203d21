"""A project with the admin starts whatever is missing; one without the admin has no page and no fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import hidden
from tests.test_startup import OPTIONAL, REPOSITORY, REQUIRED

pytestmark = pytest.mark.slow

START = """
import django, sys
from django.conf import settings
apps = ["auth", "contenttypes", "sessions", "messages", *sys.argv[1:]]
settings.configure(
    INSTALLED_APPS=[*(f"django.contrib.{app}" for app in apps), "igny8_backup"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
from django.contrib.auth.models import Permission
found = Permission.objects.filter(content_type__app_label="igny8_backup").order_by("codename")
print(*found.values_list("codename", flat=True))
"""


@pytest.mark.parametrize("apps", [["admin"], []], ids=["with the admin", "without the admin"])
def test_project_starts_without_any_dependency_and_has_the_permissions(
    tmp_path: Path, apps: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", START, *apps],
        env={**os.environ, **hidden(*OPTIONAL, *REQUIRED, path=REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["drill_backup", "pin_backup", "run_backup", "verify_backup", "view_backup"]
