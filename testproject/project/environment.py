"""Read settings from environment variables. Errors name the variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


def flag(name: str, default: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Return the variable as a boolean. Raises for unusual words."""
    value = environ.get(name)
    if value is None:
        return default
    if value.lower() in TRUE | FALSE:
        return value.lower() in TRUE
    raise ImproperlyConfigured(f"{name} must be true or false.")


def words(name: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the words of the variable, separated by commas or spaces."""
    return environ.get(name, "").replace(",", " ").split()


def database(environ: Mapping[str, str], *, debug: bool, sqlite: Path) -> dict[str, Any]:
    """Return the settings of the default database.

    ``DATABASE_URL`` (postgresql://user:password@host:port/name?option=value) comes first, then ``DB_NAME``
    with ``DB_USER``, ``DB_PASSWORD``, ``DB_HOST``, ``DB_PORT``. Without either the answer is SQLite in the
    file ``sqlite`` while debugging, and an error otherwise.
    """
    if url := environ.get("DATABASE_URL"):
        return from_url(url)
    if name := environ.get("DB_NAME"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": environ.get("DB_USER", ""),
            "PASSWORD": environ.get("DB_PASSWORD", ""),
            "HOST": environ.get("DB_HOST", ""),
            "PORT": environ.get("DB_PORT", ""),
        }
    if debug:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": sqlite}
    raise ImproperlyConfigured("Outside DEBUG a PostgreSQL database is needed: set DATABASE_URL or DB_NAME.")


def from_url(url: str) -> dict[str, Any]:
    """Return the database settings of a PostgreSQL URL; its query becomes OPTIONS.

    A folder of a unix socket is written as libpq writes it: ``?host=/run/postgresql``.
    """
    # The messages never show the URL: it holds the password.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured("DATABASE_URL is not a URL.") from None
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured("DATABASE_URL must begin with postgresql://")
    name = unquote(parts.path.removeprefix("/"))
    if not name:
        raise ImproperlyConfigured("DATABASE_URL names no database.")
    options = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or unquote(parts.hostname or "")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(port or ""),
        "OPTIONS": options,
    }
