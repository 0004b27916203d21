"""Try the handlers of ``pre_migrate`` and ``post_migrate`` while a restore is planned, without any effect.

A handler that uses a database which is not restored would fail after hours of loading. The handlers are
called with the live databases, in read-only sessions and in a transaction that is rolled back. A handler
stops at the first point where it would write anything. Only a drill shows what it does after that.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps as project_apps
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate

from igny8_backup.operations.sandbox.dry_calls import without_effects
from igny8_backup.operations.sandbox.isolation import NotRestoredError
from igny8_backup.operations.sandbox.places import place_of, project_packages

SECONDS = 10
"""Time limit in seconds for each statement of a handler."""

_READ_ONLY = {
    "postgresql": f"SET default_transaction_read_only = on; SET statement_timeout = '{SECONDS}s'",
    "sqlite": "PRAGMA query_only = ON",
}


def failing_handler(alias: str, apps: Any, plan: Any) -> str:
    """Call the project's migration handlers as a test; describe one that uses a database not restored.

    These are the handlers of the signals ``pre_migrate`` and ``post_migrate``. Returns a clause, which is
    empty if no handler uses such a database. ``apps`` and ``plan`` are what Django passes to handlers: the
    models, and the migrations that will run in the database ``alias``. If ``alias`` cannot be reached, no
    handler is called, and the result is empty.
    """
    with _read_only(), without_effects(), _quiet("django.dispatch"):
        try:
            connections[alias].ensure_connection()
        except Exception:  # on the server of a restore, the database may not exist yet
            return ""
        for name, signal in (("pre_migrate", pre_migrate), ("post_migrate", post_migrate)):
            for error in _call(signal, alias, apps, plan):
                if cause := _not_restored(error):
                    place = place_of(cause, project_packages())
                    return f"a handler of the signal {name} would fail: {cause} ({place})"
    return ""


def _call(signal: Any, alias: str, apps: Any, plan: Any) -> list[BaseException]:
    errors: list[BaseException] = []
    for app in project_apps.get_app_configs():
        if app.models_module is None:
            continue
        try:
            with transaction.atomic(using=alias):
                answers = signal.send_robust(
                    sender=app,
                    app_config=app,
                    verbosity=0,
                    interactive=False,
                    using=alias,
                    stdout=io.StringIO(),
                    plan=plan,
                    apps=apps,
                )
                errors += [answer for _, answer in answers if isinstance(answer, Exception)]
                transaction.set_rollback(True, using=alias)
        except Exception as error:
            errors.append(error)
    return errors


def _not_restored(error: BaseException | None) -> NotRestoredError | None:
    while error is not None and not isinstance(error, NotRestoredError):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def _read_only() -> Iterator[None]:
    def restrict(connection: Any, **kwargs: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_READ_ONLY[connection.vendor])

    connections.close_all()
    connection_created.connect(restrict)
    try:
        yield
    finally:
        connection_created.disconnect(restrict)
        connections.close_all()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
