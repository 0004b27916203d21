"""Sanitizers for the personal data that Django itself stores, for ``IGNY8_BACKUP["SANITIZERS"]``.

A sanitizer is called with the alias of a restored database. While it runs, the alias leads to the staging
database, to which nobody else can connect. The sanitizer changes rows there, through models or SQL, in one
transaction. An exception stops the restore. The sanitizers of this module skip models that the database
routers keep out of the alias.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.apps import apps
from django.contrib.auth.hashers import make_password
from django.core.exceptions import FieldDoesNotExist
from django.db import models, router
from django.db.models import Value
from django.db.models.functions import Cast, Concat

_NAMES = ("first_name", "last_name")


def users(alias: str) -> None:
    """Rename each user to ``user7`` with the address ``user7@example.invalid``, where 7 is the primary key.

    First and last names are emptied and passwords made unusable; ``manage.py changepassword user7`` sets a
    new password. Permissions and dates stay.
    """
    from django.contrib.auth import get_user_model

    model: Any = get_user_model()
    if not _has_rows_in(model, alias):
        return
    login, address = model.USERNAME_FIELD, model.get_email_field_name()
    # Names are unique, and one user may already have the new name of another. So the first pass gives each
    # user a name with a random prefix, and the second pass the final name.
    for start in (f"{secrets.token_hex(3)}-", "user"):
        named = Concat(Value(start), Cast("pk", models.CharField()), output_field=models.CharField())
        addressed = Concat(named, Value("@example.invalid"), output_field=models.CharField())
        changed: dict[str, Any] = {login: addressed if login == address else named}
        if _has(model, address):
            changed[address] = addressed
        model._base_manager.using(alias).update(**changed)
    # make_password(None) matches no password. The same value for all users reveals nothing.
    rest: dict[str, Any] = {name: "" for name in _NAMES if _has(model, name)}
    model._base_manager.using(alias).update(password=make_password(None), **rest)


def sessions(alias: str) -> None:
    """Delete all sessions, because they log people in and may contain personal data."""
    _empty("sessions", "Session", alias)


def admin_log(alias: str) -> None:
    """Delete the log of the Django admin, because it repeats the names of changed objects."""
    _empty("admin", "LogEntry", alias)


def _empty(app: str, name: str, alias: str) -> None:
    if app in apps.app_configs and _has_rows_in(model := apps.get_model(app, name), alias):
        model._base_manager.using(alias).all().delete()


def _has_rows_in(model: type[models.Model], alias: str) -> bool:
    return router.allow_migrate_model(alias, model)


def _has(model: type[models.Model], name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True
