"""Run the project's own code (migrations, sanitizers) against staging databases, in a separate process.

In that process, the NAME of each restored alias is changed to the staging database. (With a second alias, a
data migration that uses ``Model.objects`` would write to the live database.) All other aliases raise an error
when they are used. The broker is in memory; mail and cache are dummies.

``python -m igny8_backup.operations.staging.sandbox`` reads a JSON request from standard input. The request
contains no secret, because the process reads the project's settings itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from igny8_backup.errors import BackupError, RefusedError, ToolError, UsageError


def migrate(names: Mapping[str, str]) -> None:
    """Run ``migrate`` in staging databases; ``names`` maps each alias to the name of its staging database.

    Raises :class:`BackupError`, which names the migration that failed and contains no values of rows.
    """
    _run(
        {"names": dict(names), "work": "migrate"},
        "Migrating the staging database",
        hint="Fix the migration, or install the code that made the backup.",
    )


def sanitize(names: Mapping[str, str], sanitizers: Mapping[str, Sequence[str]]) -> None:
    """Run the sanitizers (SQL files and callables) of each alias in its staging database.

    Raises :class:`BackupError` with a message that contains no data.
    """
    from igny8_backup.operations.staging.sanitizer_process import DONE

    request = {"names": dict(names), "work": "sanitize", "sanitizers": dict(sanitizers)}
    what, hint = "Sanitizing the staging database", "Fix the sanitizer, then run the command again."
    if _run(request, what, unchanged="The live database was not changed.", hint=hint) != DONE:
        raise BackupError(
            f"{what} failed: a sanitizer has ended the process.",
            unchanged="The live database was not changed.",
            hint=hint,
        )


def check(aliases: Sequence[str]) -> None:
    """Connect to each live database as the application does; run a query and ``migrate --check``.

    Raises :class:`BackupError`.
    """
    _run({"names": {}, "aliases": list(aliases), "work": "check"}, "The check of the live databases")


def _run(request: dict[str, Any], what: str, *, unchanged: str = "", hint: str = "") -> bytes:
    # Imported here because the child process imports this module before Django is set up.
    from igny8_backup.databases.redact import without_values
    from igny8_backup.streams.process import run_process

    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not module:
        raise UsageError(
            "DJANGO_SETTINGS_MODULE is not set, so migrations cannot run in a separate process.",
            unchanged="The live database was not changed.",
            hint="Run the command through manage.py, or set DJANGO_SETTINGS_MODULE.",
        )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    argv = [sys.executable, "-m", "igny8_backup.operations.staging.sandbox"]
    try:
        return run_process(argv, env=env, input=json.dumps(request).encode())
    except ToolError as error:
        text = f"{what} failed: {without_values(error.what)}"
        raise BackupError(text, unchanged=unchanged, hint=hint) from None


def _isolate(names: Mapping[str, str]) -> None:
    """Change the settings of this process so that only the staging databases ``names`` can be used.

    Called after Django has read the settings and before they are used.
    """
    from django.conf import settings

    for alias, database in settings.DATABASES.items():
        if alias in names:
            database["NAME"] = names[alias]
            database["CONN_MAX_AGE"] = 0
            database.setdefault("TEST", {}).pop("MIRROR", None)
        else:
            database.clear()
            database["ENGINE"] = "django.db.backends.dummy"
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    settings.CACHES = {
        alias: {"BACKEND": "django.core.cache.backends.dummy.DummyCache"} for alias in settings.CACHES
    }
    # Celery prefers the environment to settings, and the read and write URLs to the general one.
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "BROKER_URL"):
        os.environ[name] = "memory://"
        setattr(settings, name, "memory://")
    os.environ["CELERY_RESULT_BACKEND"] = settings.CELERY_RESULT_BACKEND = "cache+memory://"


def _require_staging(names: Mapping[str, str]) -> None:
    """Raise :class:`RefusedError` if a connection leads to another database than the staging database.

    An option, a custom backend or a pooler may redirect it to the live database.
    """
    from django.db import connections

    for alias, name in names.items():
        if connections[alias].vendor != "postgresql":
            continue
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT current_database()")
            (found,) = cursor.fetchone()
        if found != name:
            what = f"DATABASES[{alias!r}] leads to the database {found}, although its NAME is {name}."
            hint = "Remove the name of a database from its OPTIONS, or from the pooler that it uses."
            raise RefusedError(what, unchanged="That database was not changed.", hint=hint)


def _main() -> None:
    import django

    request = json.load(sys.stdin)
    names: dict[str, str] = request["names"]
    if request["work"] in ("migrate", "sanitize"):
        _isolate(names)
    django.setup()

    from django.core.management import call_command
    from django.db import connections

    from igny8_backup.operations.staging.beat import mark_tasks_as_run

    _require_staging(names)
    if request["work"] == "migrate":
        from igny8_backup.operations.staging import migrate_process

        for alias in names:
            migrate_process.run(alias)
            mark_tasks_as_run(connections[alias])
    if request["work"] == "sanitize":
        from igny8_backup.operations.staging import sanitizer_process

        sanitizer_process.run(request["sanitizers"])
    for alias in request.get("aliases", []):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
        call_command("migrate", database=alias, check_unapplied=True, verbosity=0, skip_checks=True)
    connections.close_all()


if __name__ == "__main__":
    try:
        _main()
    except Exception as error:
        # The parent shows the end of standard error: the reason, without a traceback through Django.
        sys.exit(f"{type(error).__name__}: {error}")
