"""Staging databases: created as recorded, closed to other roles."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from igny8_backup.errors import DatabaseError
from tests.databases.stage import Stage, blocks_of
from tests.services.disk import fill, small_disk
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
def test_create_staging_uses_recorded_encoding_and_locale(
    postgres_servers: PostgresServers, make_stage: Callable[..., Stage], locale: str
) -> None:
    stage = make_stage(postgres_servers.get(int(locale[:2])))
    stage.admin(
        f"CREATE DATABASE {stage.name} TEMPLATE template0 {LOCALES[locale]} OWNER {stage.server.role}"
    )
    stage.sql("CREATE TABLE word (it text); INSERT INTO word VALUES ('Strasse'), ('b'), ('A')")
    details = stage.make_staging()
    staging = stage.engine_with(NAME=stage.staging).describe(())
    assert (staging.encoding, staging.provider, staging.locale) == (
        details.encoding,
        details.provider,
        details.locale,
    )
    assert (staging.collate, staging.ctype, staging.tables) == (
        details.collate,
        details.ctype,
        details.tables,
    )
    # pg_dump writes the same statement, except for the name.
    made = stage.plain_dump("--create", "--schema-only", name=stage.staging)
    recorded = stage.plain_dump("--create", "--schema-only")
    create = f"CREATE DATABASE {stage.name}".encode()
    (expected,) = [line for line in recorded.splitlines() if line.startswith(create)]
    (got,) = [line for line in made.splitlines() if line.startswith(b"CREATE DATABASE")]
    assert got == expected.replace(stage.name.encode(), b'"' + stage.staging.encode() + b'"')


@pytest.mark.parametrize("changed", [{"collate": "xx_XX.UTF-8"}, {"provider": "icu", "locale": "de"}])
def test_create_staging_with_unknown_locale_creates_nothing(stage: Stage, changed: dict[str, Any]) -> None:
    details = replace(stage.engine.describe(()), **changed)
    with pytest.raises(
        DatabaseError, match="could not be created like the recorded one.*Nothing live was changed"
    ):
        stage.engine.create_staging(stage.staging, details)
    assert stage.databases() == [stage.name]


@pytest.mark.slow
def test_create_staging_in_a_full_tablespace_asks_for_space(stage: Stage) -> None:
    folder = Path(tempfile.mkdtemp(prefix="igny8-tablespace-", dir="/tmp"))
    folder.chmod(0o755)
    name, owner = f"{stage.prefix}_full", stage.server.data.stat()
    try:
        with small_disk(folder / "disk", 2 << 20) as disk:
            os.chown(disk, owner.st_uid, owner.st_gid)
            stage.admin(f"CREATE TABLESPACE {name} LOCATION '{disk}'")
            stage.admin(f"GRANT CREATE ON TABLESPACE {name} TO {stage.role}")
            details = replace(stage.engine.describe(()), tablespace=name)
            filler = fill(disk)
            with pytest.raises(DatabaseError, match="Free space on the volume of the database") as raised:
                stage.engine.create_staging(stage.staging, details)
            assert "--locale" not in str(raised.value) and stage.databases() == [stage.name]
            filler.unlink()
            stage.admin(f"DROP TABLESPACE {name}")
    finally:
        shutil.rmtree(folder)


@all_majors
def test_staging_database_keeps_recorded_owners(stage: Stage) -> None:
    owner = stage.make_role("owner")
    stage.admin(f"GRANT {owner} TO {stage.server.role}")
    stage.admin(f"ALTER DATABASE {stage.name} OWNER TO {owner}")
    stage.sql(f"ALTER TABLE item OWNER TO {owner}", superuser=True)
    details = stage.make_staging()
    assert details.owners == tuple(sorted([owner, stage.server.role]))
    owned = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    tables = "SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('item', 'part')"
    staging = stage.staging
    assert stage.sql(owned, database=staging) == [(owner,)]
    assert sorted(stage.sql(tables, database=staging)) == [("item", owner), ("part", stage.server.role)]
    stage.engine.swap(staging, stage.previous, details)
    assert stage.sql(owned) == [(owner,)]


def test_staging_database_refuses_other_roles_until_swap(stage: Stage) -> None:
    reader = stage.make_role("reader", "LOGIN")
    details = stage.make_staging()
    facts: dict[str, Any] = {
        "host": stage.server.host,
        "port": stage.server.port,
        "password": stage.server.password,
    }
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(**facts, user=reader, dbname=stage.staging)
    stage.engine.swap(stage.staging, stage.previous, details)
    psycopg.connect(**facts, user=reader, dbname=stage.name).close()


@pytest.mark.postgres(15, 18)
def test_restore_with_assumed_role_and_noinherit_login(stage: Stage) -> None:
    owner, login = stage.make_role("owner", "CREATEDB"), stage.make_role("login", "LOGIN NOINHERIT")
    stage.admin(f"GRANT {owner} TO {login}")
    stage.admin(f"ALTER DATABASE {stage.name} OWNER TO {owner}")
    stage.sql(f"ALTER TABLE item OWNER TO {owner}; ALTER TABLE part OWNER TO {owner}", superuser=True)
    engine = stage.engine_with(USER=login, OPTIONS={"assume_role": owner})
    details = engine.describe(())
    assert engine.blockers(stage.part(), details) == []
    data = b"".join(engine.dump(details))
    staging, previous = stage.staging, stage.previous
    engine.create_staging(staging, details)
    engine.load(staging, blocks_of(data), jobs=2)
    engine.copy_settings(staging, details)
    engine.swap(staging, previous, details)
    assert stage.sql("SELECT count(*) FROM item", superuser=True) == [(200,)]
    assert engine.describe(()).owners == (owner,)
    assert not any(login in item.grantee for item in engine.describe(()).privileges or ())


def test_target_of_unreadable_database_is_not_empty(stage: Stage) -> None:
    stage.admin(f"ALTER DATABASE {stage.name} ALLOW_CONNECTIONS false")
    target = stage.engine.target()
    assert (target.exists, target.tables, target.empty) == (True, None, False)
    assert target.size > 0


def test_drop_waits_for_create_database(stage: Stage) -> None:
    """The client that created it was killed; the server finishes."""
    staging = stage.staging
    engine = stage.engine
    with stage.server.connect() as creator:
        creator.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [staging])
        dropper = threading.Thread(target=engine.drop, args=[staging])
        dropper.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while dropper.is_alive() and stage.admin(waiting) != [(1,)]:
            time.sleep(0.01)
        creator.execute(f'CREATE DATABASE "{staging}"'.encode())
    dropper.join()
    assert staging not in stage.databases()
