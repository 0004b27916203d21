"""Runs the project's own code against side databases, in a process of its own.

In the child each restored alias keeps its name and its NAME is the side database. A second alias would not
do: routers skip it, and a data migration that says ``Model.objects`` would write into the live database.
Every other alias raises when it is used; the broker is in memory, mail and cache lead nowhere.

``python -m igny8_backup.operations.staging.sandbox`` reads a request (JSON) from its standard input. No secret
is in it: the child reads the project's settings itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from igny8_backup.errors import BackupError, RefusedError, ToolError, UsageError


def migrate(names: Mapping[str, str]) -> None:
    """``migrate`` in each side database: ``names`` maps aliases to the names of their side databases.

    Raises :class:`BackupError` with the name of the migration that failed, and what may be told of why: see
    ``migrate_process``.
    """
    _run({"names": dict(names), "work": "migrate"}, "migrate in the side database")


def sanitize(names: Mapping[str, str], sanitizers: Mapping[str, Sequence[str]]) -> None:
    """Runs SQL files and callables, by alias, in the side databases: see ``sanitizer_process``.

    Raises :class:`BackupError` without a word that could hold data.
    """
    from igny8_backup.operations.staging.sanitizer_process import DONE

    unchanged = "The live database is as it was."
    request = {"names": dict(names), "work": "sanitize", "sanitizers": dict(sanitizers)}
    try:
        output = _run(request, "sanitizing the side database")
    except BackupError as error:
        raise BackupError(str(error), unchanged=unchanged) from None
    if output != DONE:
        raise BackupError(
            "Sanitizing the side database failed: a sanitizer has ended the process.", unchanged=unchanged
        )


def check(aliases: Sequence[str]) -> None:
    """As the application will: connects to each live database, asks one query, and ``migrate --check``."""
    _run({"names": {}, "aliases": list(aliases), "work": "check"}, "the check after the swap")


def _run(request: dict[str, Any], what: str) -> bytes:
    # Not at the top: the child imports this module before Django is set up.
    from igny8_backup.databases.redact import without_values
    from igny8_backup.streams.process import run_process

    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not module:
        raise UsageError(
            "DJANGO_SETTINGS_MODULE is not set, so migrations cannot run in a process of their own.",
            unchanged="The live database is as it was.",
            hint="Run through manage.py, or set DJANGO_SETTINGS_MODULE.",
        )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    argv = [sys.executable, "-m", "igny8_backup.operations.staging.sandbox"]
    try:
        return run_process(argv, env=env, input=json.dumps(request).encode())
    except ToolError as error:
        raise BackupError(f"{what[0].upper()}{what[1:]} failed: {without_values(str(error))}") from None


def _isolate(names: Mapping[str, str]) -> None:
    """Settings of the child, changed after they are read and before anything uses them."""
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
    # Celery takes the environment before any setting, and the URLs for one direction before the general one.
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "BROKER_URL"):
        os.environ[name] = "memory://"
        setattr(settings, name, "memory://")
    os.environ["CELERY_RESULT_BACKEND"] = settings.CELERY_RESULT_BACKEND = "cache+memory://"


def _require_sides(names: Mapping[str, str]) -> None:
    """Raises :class:`RefusedError` where a connection leads elsewhere in spite of its NAME: an option, a
    backend of the project's own or a pooler may say so, and nothing live must be touched."""
    from django.db import connections

    for alias, name in names.items():
        if connections[alias].vendor != "postgresql":
            continue
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT current_database()")
            (found,) = cursor.fetchone()
        if found != name:
            raise RefusedError(
                f"DATABASES[{alias!r}] leads to the database {found} though its NAME is {name}.",
                unchanged="Nothing was done in it.",
                hint="Take out of its OPTIONS, or of what it connects through, what names a database.",
            )


def _main() -> None:
    import django

    request = json.load(sys.stdin)
    names: dict[str, str] = request["names"]
    if request["work"] in ("migrate", "sanitize"):
        _isolate(names)
    django.setup()

    from django.core.management import call_command
    from django.db import connections

    from igny8_backup.operations.staging.beat import forget_missed

    _require_sides(names)
    if request["work"] == "migrate":
        from igny8_backup.operations.staging import migrate_process

        for alias in names:
            migrate_process.run(alias)
            forget_missed(connections[alias])
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
        # The last words are all that the parent shows: the reason, not the way through Django's frames.
        sys.exit(f"{type(error).__name__}: {error}")
