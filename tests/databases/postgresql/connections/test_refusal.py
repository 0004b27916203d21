"""Hints about refused connections, from a server that reports in German."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from igny8_backup.databases.postgresql.connections.refusal import sqlstate_of_refusal
from igny8_backup.errors import DatabaseError
from tests.databases.stage import Stage
from tests.services import unavailable

pytestmark = [pytest.mark.slow, pytest.mark.postgres(15)]


@pytest.fixture
def german(stage: Stage) -> Iterator[Stage]:
    """A database of a server whose messages are German, also before a role has logged in."""
    try:
        stage.admin("ALTER SYSTEM SET lc_messages TO 'de_DE.UTF-8'")
    except psycopg.Error:
        unavailable("The locale de_DE.UTF-8 is not installed.")
    stage.admin("SELECT pg_reload_conf()")
    yield stage
    stage.admin("ALTER SYSTEM RESET lc_messages")
    stage.admin("SELECT pg_reload_conf()")


def test_refused_connection_has_the_hint_of_its_sqlstate_in_any_language(german: Stage) -> None:
    locked, full = german.make_role("locked", "NOLOGIN"), german.make_role("full", "LOGIN CONNECTION LIMIT 0")
    other = german.make_role("other", "LOGIN")
    german.admin(f"REVOKE CONNECT ON DATABASE {german.name} FROM PUBLIC")
    cases = {
        "28P01": ({"PASSWORD": "wrong"}, r"Passwort.*Correct USER and PASSWORD"),
        "28000": ({"USER": locked}, r"Correct USER and PASSWORD"),
        "42501": ({"USER": other}, f'As a superuser: GRANT CONNECT ON DATABASE "{german.name}" TO "{other}"'),
        "53300": ({"USER": full}, r"raise max_connections or the limit of the role"),
        "3D000": ({"NAME": f"{german.name}_gone"}, r"existiert nicht.*Create it, or correct NAME"),
    }
    for sqlstate, (changed, expected) in cases.items():
        live = german.engine_with(**changed).live
        with pytest.raises(DatabaseError, match=expected), live.open():
            pass
        assert sqlstate_of_refusal(live.current()) == sqlstate


def test_accepted_connection_has_no_sqlstate(german: Stage) -> None:
    assert sqlstate_of_refusal(german.engine.live.current()) == ""
