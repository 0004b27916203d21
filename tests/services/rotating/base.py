"""The backend: every call of ``get_connection_params`` gives the role a new password on the server."""

from __future__ import annotations

import os
import secrets
from typing import Any

from django.db.backends.postgresql import base

from igny8_backup.databases.postgresql.connections.driver import connect
from igny8_backup.databases.quoting import identifier, literal

SUPERUSER_PASSWORD = "ROTATING_SUPERUSER_PASSWORD"
"""The environment variable with the password of the superuser, who changes that of the role."""


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        administrator = {"user": "postgres", "password": os.environ[SUPERUSER_PASSWORD], "dbname": "postgres"}
        session = connect({**{key: params[key] for key in ("host", "port")}, **administrator})
        password = secrets.token_urlsafe(12)
        try:
            session.execute(f"ALTER ROLE {identifier(params['user'])} PASSWORD {literal(password)}")
        finally:
            session.close()
        return {**params, "password": password}
