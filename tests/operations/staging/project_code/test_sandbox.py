"""The sandbox process can reach only staging databases."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.operations.conftest import Saved
from tests.services.project import PYTHON


def test_sandbox_connection_to_another_database_is_refused(saved: Saved, tmp_path: Path) -> None:
    project = saved.project
    (tmp_path / "bent_settings.py").write_text(
        "from project.settings import *\n"
        f"DATABASES['default']['OPTIONS'] = {{'dbname': {project.database!r}}}\n"
    )
    before = project.sql("SELECT count(*) FROM django_migrations")
    project.sql(
        "ALTER TABLE django_migrations RENAME TO no_migrations"
    )  # the table that migrate would create again
    try:
        done = subprocess.run(
            [*PYTHON, "-m", "igny8_backup.operations.staging.project_code.sandbox"],
            input=json.dumps({"names": {"default": "postgres"}, "work": "migrate"}),
            capture_output=True,
            text=True,
            cwd=project.folder,
            env={
                **project.environment,
                "PYTHONPATH": f"{tmp_path}:{project.environment['PYTHONPATH']}",
                "DJANGO_SETTINGS_MODULE": "bent_settings",
            },
            timeout=60,
        )
        assert f"connects to the database {project.database}, although its NAME is postgres" in done.stderr
        assert done.returncode == 1
        assert project.sql("SELECT to_regclass('django_migrations')") == [(None,)]
    finally:
        project.sql("ALTER TABLE no_migrations RENAME TO django_migrations")
    assert project.sql("SELECT count(*) FROM django_migrations") == before
