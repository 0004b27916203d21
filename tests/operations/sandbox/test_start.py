"""The sandbox starts a project as its own program does, already in the plan of a restore."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from celery import Celery

from igny8_backup.operations.sandbox.start import Start, find_start
from tests.operations.sandbox.small import MANAGE, SETTINGS, SmallProject, migration

MARK = "def work(apps, editor):\n    apps.get_model('shop', 'Order').objects.create(customer='migrated')\n"
CONFIGURED = f"""
import sys
{SETTINGS.replace("__file__", "sys.argv[0]")}
from django.conf import settings
settings.configure(**{{name: value for name, value in list(globals().items()) if name.isupper()}})
if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
CONFIGURATIONS = """
import os, sys
if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "classes")
    from configurations.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
CLASSES = """
import settings as plain
from configurations import Configuration
class Production(Configuration):
    locals().update({name: value for name, value in vars(plain).items() if name.isupper()})
"""
OWN_ARGUMENTS = """
import os, sys
if __name__ == "__main__":
    place = sys.argv.index("--site")
    os.environ["DJANGO_SETTINGS_MODULE"] = sys.argv[place + 1]
    del sys.argv[place:place + 2]
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
DOTENV = """
import os, sys
if __name__ == "__main__":
    for line in open(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".env")):
        name, _, value = line.strip().partition("=")
        os.environ.setdefault(name, value)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""


def restored_and_migrated(small: SmallProject) -> None:
    """Back up, add a migration to the code, restore, drill."""
    small.prepare()
    small.write("shop/migrations/0002_mark.py", migration(MARK))
    plan = small.run("restore_all", "--dry-run", "--only", "db").ended(0)
    assert "NOTE: default: 1 migration will run: shop.0002_mark." in plan.stdout
    assert small.sql("SELECT count(*) FROM shop_order") == [(0,)]
    small.run("drill_backup").ended(0)
    small.run(*small.restore).ended(0)
    assert small.sql("SELECT customer FROM shop_order") == [("migrated",)]


def test_project_with_settings_module_is_migrated(small: SmallProject) -> None:
    restored_and_migrated(small)


def test_project_configured_in_manage_py_is_migrated(small: SmallProject) -> None:
    (small.folder / "settings.py").unlink()
    small.write("manage.py", CONFIGURED)
    restored_and_migrated(small)


@pytest.mark.skipif(not find_spec("configurations"), reason="django-configurations is not installed")
def test_project_with_django_configurations_is_migrated(small: SmallProject) -> None:
    small.write("manage.py", CONFIGURATIONS)
    small.write("classes.py", CLASSES)
    small.start = ["manage.py"]
    small.environment["DJANGO_CONFIGURATION"] = "Production"
    restored_and_migrated(small)


@pytest.mark.skipif(not find_spec("configurations"), reason="django-configurations is not installed")
def test_configuration_given_as_option_reaches_the_sandbox(small: SmallProject) -> None:
    small.write("manage.py", CONFIGURATIONS)
    small.write("classes.py", CLASSES)
    small.run("migrate", "--verbosity=0", "--configuration=Production").ended(0)
    small.run("backup_db", "--configuration", "Production").ended(0)
    small.run(*small.restore, "--configuration", "Production").ended(0)


def test_program_with_own_arguments_is_started_with_them(small: SmallProject) -> None:
    small.write("manage.py", OWN_ARGUMENTS)
    small.start = ["manage.py", "--site", "settings"]
    restored_and_migrated(small)


def test_settings_given_as_option_reach_the_sandbox(small: SmallProject) -> None:
    """``manage.py`` sets the variable whatever the environment says."""
    small.write("manage.py", MANAGE.replace("environ.setdefault(", "environ.__setitem__("))
    small.write("other.py", "from settings import *\nINSTALLED_APPS += ['django.contrib.auth']\n")
    small.run("migrate", "--verbosity=0", "--settings=other").ended(0)
    small.run("backup_db", "--settings=other").ended(0)
    plan = small.run("restore_all", "--dry-run", "--only", "db", "--settings", "other").ended(0)
    assert "will run" not in plan.stdout


def test_program_that_reads_dotenv_is_migrated(small: SmallProject) -> None:
    """The variables of the file are in no environment that a parent passes on by itself."""
    password = small.environment.pop("SMALL_PASSWORD")
    small.write(".env", f"SMALL_PASSWORD={password}\n")
    small.write("manage.py", DOTENV)
    restored_and_migrated(small)


def test_project_started_as_module_is_migrated(small: SmallProject) -> None:
    small.write("site_program/__init__.py", "")
    small.write("site_program/__main__.py", MANAGE)
    small.start = ["-m", "site_program"]
    restored_and_migrated(small)


def test_ready_that_looks_for_migrate_behaves_as_before_a_migration(small: SmallProject) -> None:
    small.add(
        "shop/apps.py",
        "    def ready(self):\n"
        "        import os, sys\n"
        "        if 'IGNY8_BACKUP_SANDBOX' in os.environ and 'migrate' not in sys.argv:\n"
        "            raise RuntimeError('not a migration')\n",
    )
    restored_and_migrated(small)


def test_command_that_calls_restore_all_starts_its_own_program(small: SmallProject) -> None:
    small.write("shop/management/__init__.py", "")
    small.write("shop/management/commands/__init__.py", "")
    small.write(
        "shop/management/commands/nightly.py",
        "from django.core.management import BaseCommand, call_command\n"
        "class Command(BaseCommand):\n"
        "    def handle(self, **options):\n"
        "        call_command('restore_all', '--dry-run', '--only', 'db')\n",
    )
    (small.folder / "settings.py").unlink()
    small.write("manage.py", CONFIGURED)
    small.prepare()
    small.run("nightly").ended(0)


def test_program_that_fails_is_found_in_the_plan(small: SmallProject) -> None:
    small.prepare()
    small.add(
        "shop/apps.py",
        "    def ready(self):\n"
        "        import os\n"
        "        if 'IGNY8_BACKUP_SANDBOX' in os.environ:\n"
        "            raise ValueError('redis://user:s3cret@cache/0 refused \"tenant\"')\n",
    )
    refused = small.run("restore_all", "--dry-run", "--only", "db").ended(4)
    assert "shop/apps.py, line 9" in refused.stderr and "ValueError" in refused.stderr
    assert "s3cret" not in refused.output and "tenant" not in refused.output
    without = small.run("restore_all", "--dry-run", "--only", "db", "--no-migrate").ended(0)
    assert "will not be migrated" in without.stdout
    assert "shop/apps.py, line 9" in small.run("drill_backup").ended(4).stderr


def test_settings_that_fail_in_the_sandbox_are_named(small: SmallProject) -> None:
    small.prepare()
    small.add("settings.py", "if 'IGNY8_BACKUP_SANDBOX' in os.environ:\n    import not_installed")
    refused = small.run("restore_all", "--dry-run", "--only", "db").ended(4)
    assert "not_installed" in refused.stderr and "settings.py, line" in refused.stderr


def test_migration_history_that_django_refuses_is_found_in_the_plan(small: SmallProject) -> None:
    small.write("shop/migrations/0002_mark.py", migration(MARK))
    small.run("migrate", "--verbosity=0").ended(0)
    small.sql("DELETE FROM django_migrations WHERE name = '0001_initial' AND app = 'shop'")
    small.run("backup_db").ended(0)
    refused = small.run("restore_all", "--dry-run", "--only", "db").ended(4)
    assert "InconsistentMigrationHistory" in refused.stderr and "shop.0002_mark" in refused.stderr


def test_thread_of_the_project_that_never_ends_does_not_stop_the_plan(small: SmallProject) -> None:
    small.prepare()
    small.add(
        "shop/apps.py",
        "    def ready(self):\n"
        "        import os, threading\n"
        "        if 'IGNY8_BACKUP_SANDBOX' in os.environ:\n"
        "            threading.Thread(target=threading.Event().wait).start()\n",
    )
    small.run("restore_all", "--dry-run", "--only", "db").ended(0)


def test_drill_reports_a_migration_that_fails(small: SmallProject) -> None:
    small.prepare()
    small.write("shop/migrations/0002_mark.py", migration("def work(apps, editor):\n    {}['a tenant']\n"))
    failed = small.run("drill_backup").ended(1)
    assert "shop.0002_mark: KeyError in" in failed.stderr and "0002_mark.py, line 3" in failed.stderr
    assert "tenant" not in failed.output
    small.run("drill_backup", "--no-migrate").ended(0)


def test_worker_that_hides_a_module_is_started_by_its_celery_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sys.modules[name] = None`` keeps a module from being imported."""
    app = Celery("project", set_as_current=False)
    monkeypatch.setattr("celery._state._tls.current_app", app)
    monkeypatch.setitem(sys.modules, "aaa_hidden", None)
    monkeypatch.setitem(sys.modules, "project_celery", cast("ModuleType", SimpleNamespace(app=app)))
    monkeypatch.setattr(sys, "argv", ["celery", "worker"])
    assert find_start() == Start(app="project_celery")


EXECUTES_ITSELF = """
import os, sys
if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    if "AGAIN" not in os.environ or "IGNY8_BACKUP_SANDBOX" in os.environ and "THIRD" not in os.environ:
        name = "THIRD" if "IGNY8_BACKUP_SANDBOX" in os.environ else "AGAIN"
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, name: "1"})
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
MIGRATES = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
import django
from django.core.management import call_command
django.setup()
call_command("migrate", verbosity=0)
"""


def test_program_that_executes_itself_again_cannot_migrate_the_live_database(small: SmallProject) -> None:
    small.write("manage.py", EXECUTES_ITSELF)
    small.prepare()
    small.write("shop/migrations/0002_mark.py", migration(MARK))
    refused = small.run("restore_all", "--dry-run", "--only", "db").ended(4)
    assert "the project's code has ended the process" in refused.stderr
    assert small.sql("SELECT count(*) FROM shop_order") == [(0,)]


def test_script_that_migrates_by_itself_cannot_migrate_the_live_database(small: SmallProject) -> None:
    small.write("nightly.py", MIGRATES)
    small.add("settings.py", "IGNY8_BACKUP['SANDBOX'] = {'SCRIPT': str(BASE_DIR / 'nightly.py')}")
    small.prepare()
    small.write("shop/migrations/0002_mark.py", migration(MARK))
    refused = small.run("restore_all", "--dry-run", "--only", "db").ended(4)
    assert "runs the management command migrate itself" in refused.stderr
    assert small.sql("SELECT count(*) FROM shop_order") == [(0,)]


def test_process_that_the_sandbox_starts_is_refused(small: SmallProject) -> None:
    refused = small.run("migrate", env={"IGNY8_BACKUP_SANDBOX": "1"})
    assert refused.returncode == 1 and "is not the sandbox of a restore" in refused.stderr


def test_find_start_with_a_path_or_module_in_the_settings_returns_it() -> None:
    assert find_start("/srv/app/manage.py") == Start(script="/srv/app/manage.py")
    assert find_start("app.cli") == Start(module="app.cli")


def test_find_start_outside_a_management_command_returns_no_program() -> None:
    assert find_start() == Start(app=find_start().app)
