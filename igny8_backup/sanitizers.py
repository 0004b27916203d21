"""Ready sanitizers for what Django itself keeps of people, to be named in ``IGNY8_BACKUP["SANITIZERS"]``.

A sanitizer is a callable that is given the alias of a restored database, whose NAME is then the side database
that nobody else uses yet. It changes rows there, through models or SQL. It runs in one transaction, and what
it raises stops the restore. Models whose rows do not live under that alias are passed over.
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
    """Each user becomes ``user7`` (7 is the primary key) with the address ``user7@example.invalid``, no name
    and no password: ``manage.py changepassword user7`` gives one. Rights and dates stay."""
    from django.contrib.auth import get_user_model

    model: Any = get_user_model()
    if not _lives(model, alias):
        return
    login, address = model.USERNAME_FIELD, model.get_email_field_name()
    # Twice: a user may have had the very name that another one is given, and names are unique.
    for start in (f"{secrets.token_hex(3)}-", "user"):
        named = Concat(Value(start), Cast("pk", models.CharField()), output_field=models.CharField())
        addressed = Concat(named, Value("@example.invalid"), output_field=models.CharField())
        changed: dict[str, Any] = {login: addressed if login == address else named}
        if _has(model, address):
            changed[address] = addressed
        model._base_manager.using(alias).update(**changed)
    # make_password(None) is what nobody can type; the same for all of them tells nothing of anybody.
    rest: dict[str, Any] = {name: "" for name in _NAMES if _has(model, name)}
    model._base_manager.using(alias).update(password=make_password(None), **rest)


def sessions(alias: str) -> None:
    """No session is left: each logs somebody in, and may hold anything of theirs."""
    _empty("sessions", "Session", alias)


def admin_log(alias: str) -> None:
    """The log of the admin is emptied: it repeats the names of what people changed."""
    _empty("admin", "LogEntry", alias)


def _empty(app: str, name: str, alias: str) -> None:
    if app in apps.app_configs and _lives(model := apps.get_model(app, name), alias):
        model._base_manager.using(alias).all().delete()


def _lives(model: type[models.Model], alias: str) -> bool:
    return router.allow_migrate_model(alias, model)


def _has(model: type[models.Model], name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True
