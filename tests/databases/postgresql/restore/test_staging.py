"""The side database: made as recorded, for nobody but its owner and us."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from igny8_backup.errors import DatabaseError
from tests.databases.stage import Stage, blocks_of
from tests.services.postgres import PostgresServers

all_majors = pytest.mark.postgres(15, 16, 18)
LOCALES = {
    "15 icu": "LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' LC_COLLATE 'C' LC_CTYPE 'C'",
    "15 libc": "LC_COLLATE 'C.utf8' LC_CTYPE 'C'",
    "15 latin1": "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    "16 libc": "LOCALE 'C'",
    "16 none": "ENCODING 'SQL_ASCII' LOCALE 'C'",
    "18 builtin": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST'",
    "18 libc": "LOCALE_PROVIDER libc LOCALE 'C'",
}


@pytest.mark.parametrize("locale", LOCALES)
def test_the_side_has_the_encoding_and_locale_of_the_recorded_database(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage], locale: str
) -> None:
    stage = make_stage(postgres_servers.get(int(locale[:2])))
    stage.admin(
        f"CREATE DATABASE {stage.name} TEMPLATE template0 {LOCALES[locale]} OWNER {stage.server.role}"
    )
    stage.sql("CREATE TABLE word (it text); INSERT INTO word VALUES ('Strasse'), ('b'), ('A')")
    details = stage.make_side()
    side = stage.engine_with(NAME=stage.aside("side")).describe(())
    assert (side.encoding, side.provider, side.locale) == (details.encoding, details.provider, details.locale)
    assert (side.collate, side.ctype, side.tables) == (details.collate, details.ctype, details.tables)
    # What pg_dump writes down of it is the same, but for its name.
    made = stage.plain_dump("--create", "--schema-only", name=stage.aside("side"))
    recorded = stage.plain_dump("--create", "--schema-only")
    create = f"CREATE DATABASE {stage.name}".encode()
    (wanted,) = [line for line in recorded.splitlines() if line.startswith(create)]
    (got,) = [line for line in made.splitlines() if line.startswith(b"CREATE DATABASE")]
    assert got == wanted.replace(stage.name.encode(), b'"' + stage.aside("side").encode() + b'"')


@pytest.mark.parametrize("changed", [{"collate": "xx_XX.UTF-8"}, {"provider": "icu", "locale": "de"}])
def test_a_locale_that_the_server_lacks_is_refused_and_nothing_is_made(
    stage: Stage, changed: dict[str, str]
) -> None:
    details = replace(stage.engine.describe(()), **changed)  # type: ignore[arg-type]
    with pytest.raises(DatabaseError, match="could not be created as recorded.*Nothing live was changed"):
        stage.engine.create_staging(stage.aside("side"), details)
    assert stage.names() == [stage.name]


@all_majors
def test_the_side_belongs_to_the_recorded_owner_and_so_does_what_is_in_it(stage: Stage) -> None:
    owner = stage.make_role("owner")
    stage.admin(f"GRANT {owner} TO {stage.server.role}")
    stage.admin(f"ALTER DATABASE {stage.name} OWNER TO {owner}")
    stage.sql(f"ALTER TABLE item OWNER TO {owner}", superuser=True)
    details = stage.make_side()
    assert details.owners == tuple(sorted([owner, stage.server.role]))
    owned = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    tables = "SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('item', 'part')"
    side = stage.aside("side")
    assert stage.sql(owned, database=side) == [(owner,)]
    assert sorted(stage.sql(tables, database=side)) == [("item", owner), ("part", stage.server.role)]
    stage.engine.swap(side, stage.aside("before"), details)
    assert stage.sql(owned) == [(owner,)]


def test_nobody_else_may_connect_to_the_side_until_the_swap(stage: Stage) -> None:
    reader = stage.make_role("reader", "LOGIN")
    details = stage.make_side()
    facts: dict[str, Any] = {
        "host": stage.server.host,
        "port": stage.server.port,
        "password": stage.server.password,
    }
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(**facts, user=reader, dbname=stage.aside("side"))
    stage.engine.swap(stage.aside("side"), stage.aside("before"), details)
    psycopg.connect(**facts, user=reader, dbname=stage.name).close()


@pytest.mark.postgres(15, 18)
def test_a_role_that_is_assumed_restores_though_the_login_inherits_nothing(stage: Stage) -> None:
    owner, login = stage.make_role("owner", "CREATEDB"), stage.make_role("login", "LOGIN NOINHERIT")
    stage.admin(f"GRANT {owner} TO {login}")
    stage.admin(f"ALTER DATABASE {stage.name} OWNER TO {owner}")
    stage.sql(f"ALTER TABLE item OWNER TO {owner}; ALTER TABLE part OWNER TO {owner}", superuser=True)
    engine = stage.engine_with(USER=login, OPTIONS={"assume_role": owner})
    details = engine.describe(())
    assert engine.blockers(stage.part(), details) == []
    data = b"".join(engine.dump(details))
    side, before = stage.aside("side"), stage.aside("before")
    engine.create_staging(side, details)
    engine.load(side, blocks_of(data), raw_bytes=len(data), scratch=stage.scratch, jobs=2)
    engine.copy_settings(side, details)
    engine.swap(side, before, details)
    assert stage.sql("SELECT count(*) FROM item", superuser=True) == [(200,)]
    assert engine.describe(()).owners == (owner,)
    assert not any(login in item.grantee for item in engine.describe(()).privileges or ())


def test_a_live_database_that_lets_nobody_in_is_a_target_that_is_not_empty(stage: Stage) -> None:
    stage.admin(f"ALTER DATABASE {stage.name} ALLOW_CONNECTIONS false")
    target = stage.engine.target()
    assert (target.exists, target.tables, target.empty) == (True, None, False)
    assert target.size > 0


def test_a_database_that_is_still_being_made_is_dropped_when_it_is_there(stage: Stage) -> None:
    """Whoever made it was killed; the server goes on."""
    side = stage.aside("side")
    engine = stage.engine
    with stage.server.connect() as maker:
        maker.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [side])
        dropper = threading.Thread(target=engine.drop, args=[side])
        dropper.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while dropper.is_alive() and stage.admin(waiting) != [(1,)]:
            time.sleep(0.01)
        maker.execute(f'CREATE DATABASE "{side}"'.encode())
    dropper.join()
    assert side not in stage.names()
