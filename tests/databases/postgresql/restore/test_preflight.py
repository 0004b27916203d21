"""Blockers of a restore with a swap, and the state of its target."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from demo.account import private_folder
from demo.server import PostgresServer

from igny8_backup.databases.values import Extension, Role, Sessions, Subscription
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseSetting, Privilege
from tests.databases.relay import Relay
from tests.databases.stage import Stage
from tests.services.postgres import PostgresServers

Make = Callable[..., Stage]
all_majors = pytest.mark.postgres(15, 16, 18)


def blockers(stage: Stage, *, part: dict[str, str] | None = None, **details: Any) -> list[str]:
    engine = stage.engine
    found = engine.blockers(
        stage.part(**(part or {})),
        replace(engine.describe(()), **details),
    )
    return found


@all_majors
def test_blockers_on_same_server_are_empty(stage: Stage) -> None:
    assert blockers(stage) == []
    details, part = stage.engine.describe(()), stage.part()
    stage.server.drop_database(stage.name)
    assert stage.engine.blockers(part, details) == []


def test_blockers_name_older_server(stage: Stage) -> None:
    (found,) = blockers(stage, part={"server_version": "99.1"})
    assert "dump is of PostgreSQL 99.1" in found and "restore to version 99 or newer" in found


def test_blockers_name_older_client(stage: Stage) -> None:
    (found,) = blockers(stage, part={"dump_version": "99.2"})
    assert "written by pg_dump 99.2" in found and "postgresql-client-99" in found


@all_majors
def test_blockers_name_missing_and_foreign_roles(stage: Stage) -> None:
    other, reader = stage.make_role("other"), stage.make_role("reader")
    (found,) = blockers(stage, owners=("gone", other), roles=("gone", 'al"so', other, reader))[:1]
    assert found.endswith('CREATE ROLE "al""so"; CREATE ROLE "gone";')
    assert blockers(stage, owners=(other,), roles=(other, reader)) == [
        f'The role igny8 may not create objects that belong to {other}: GRANT "{other}" TO "igny8"; or'
        " restore with --no-owner, so that igny8 owns everything."
    ]
    assert blockers(stage, roles=(stage.server.role, reader)) == []
    stage.admin(f"GRANT {other} TO {stage.server.role}")
    assert blockers(stage, owners=(other,), roles=(other,), owner=other) == []


@pytest.mark.postgres(16, 18)
def test_blockers_name_membership_without_inherit_or_set(stage: Stage) -> None:
    other = stage.make_role("other")
    stage.admin(f"GRANT {other} TO {stage.server.role} WITH INHERIT FALSE, SET TRUE")
    assert blockers(stage, owners=(other,)) == []
    assert len(blockers(stage, owner=other)) == 1
    stage.admin(f"GRANT {other} TO {stage.server.role} WITH INHERIT TRUE, SET FALSE")
    assert len(blockers(stage, owners=(other,))) == 1


POWER = ("SUPERUSER", "CREATEROLE", "REPLICATION", "BYPASSRLS", "IN ROLE pg_execute_server_program")


@pytest.mark.postgres(15, 18)
def test_blockers_never_advise_membership_in_powerful_role(stage: Stage) -> None:
    strong = [stage.make_role(f"strong{number}", option) for number, option in enumerate(POWER)]
    strong += [stage.make_role("indirect", f"IN ROLE {strong[1]}"), "postgres"]
    found = blockers(stage, owners=tuple(strong))
    assert len(found) == len(strong)
    for text in found:
        assert "GRANT" not in text and "restore with --no-owner, so that igny8 owns everything." in text
    (found_owner,) = blockers(stage, owner="postgres")
    assert "GRANT" not in found_owner and "--no-owner" in found_owner


def test_blockers_without_live_database_name_roles_of_attributes(stage: Stage) -> None:
    changed = replace(
        stage.engine.describe(()),
        settings=(DatabaseSetting(role="gone1", name="work_mem", value="1MB"),),
        privileges=(
            Privilege(grantee="gone2", privilege="CONNECT", grantable=False),
            Privilege(grantee="", privilege="CONNECT", grantable=False),
        ),
    )
    part = stage.part()
    assert stage.engine.blockers(part, changed) == []
    stage.server.drop_database(stage.name)
    (found,) = stage.engine.blockers(part, changed)
    assert found.endswith('CREATE ROLE "gone1"; CREATE ROLE "gone2";')


def test_blockers_name_missing_createdb_and_ownership(stage: Stage) -> None:
    role = stage.make_role("poor", "LOGIN IN ROLE pg_read_all_data")
    details = replace(stage.engine.describe(()), owner=role, owners=(role,), roles=(role,))
    found = stage.engine_with(USER=role).blockers(stage.part(), details)
    assert found == [
        f'The role {role} may not create databases: ALTER ROLE "{role}" CREATEDB;'
        " if nobody can grant that, only restore_all --in-place works.",
        f"The live database belongs to igny8, whose privileges the role {role} lacks: ALTER DATABASE"
        f' "{stage.name}" OWNER TO "{role}";',
    ]


@pytest.mark.postgres(15, 18)
def test_blockers_name_connection_limits_and_the_statement_that_raises_them(stage: Stage) -> None:
    role = stage.make_role("few", "LOGIN CREATEDB CONNECTION LIMIT 2")
    stage.admin(f"GRANT {stage.role} TO {role}")
    engine, details, part = stage.engine_with(USER=role), stage.engine.describe(()), stage.part()
    (found,) = engine.blockers(part, details)
    assert re.fullmatch(
        f"The role {role} may open 2 sessions at once, of which (0 are|1 is) in use by others, and 4 are"
        " needed:"
        f' ALTER ROLE "{role}" CONNECTION LIMIT [45];',
        found,
    )
    stage.admin(f"ALTER ROLE {role} CONNECTION LIMIT 9")
    assert engine.blockers(part, details) == []


def test_blockers_do_not_count_sessions_of_the_same_run(stage: Stage) -> None:
    role = stage.make_role("few", "LOGIN CREATEDB CONNECTION LIMIT 4")
    stage.admin(f"GRANT {stage.role} TO {role}")
    engine, details, part = stage.engine_with(USER=role), stage.engine.describe(()), stage.part()
    with engine.lock_session():
        assert engine.blockers(part, details) == []


def test_blockers_name_server_without_free_sessions(cramped: PostgresServer, make_stage: Make) -> None:
    stage = make_stage(cramped)
    stage.create()
    part, details = stage.part(), stage.engine.describe(())
    assert stage.engine.blockers(part, details) == []
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(cramped.connect())
        (found,) = stage.engine.blockers(part, details)
    assert re.search(
        "open 17 sessions at once, of which 1[5-7] are in use by others, and 4 are needed: end idle", found
    )


class StrictServer(PostgresServer):
    """A server whose pg_hba.conf names the databases that the role may use."""

    def allow(self, *databases: str) -> None:
        lines = ["host all postgres all scram-sha-256"]
        lines += [f"host {name} {self.role} all scram-sha-256" for name in databases]
        (self.data / "pg_hba.conf").write_text("\n".join(lines) + "\n")
        loaded = self._load_time()
        with self.connect(superuser=True) as session:
            session.execute("SELECT pg_reload_conf()")
        while self._load_time() == loaded:
            pass

    def _load_time(self) -> object:
        with self.connect(superuser=True) as session:
            return session.execute("SELECT pg_conf_load_time()").fetchone()


@pytest.fixture
def strict(postgres_servers: PostgresServers) -> Iterator[PostgresServer]:
    base = private_folder("igny8-strict-")
    try:
        with StrictServer(postgres_servers.get(18).bin_dir, base, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(base)


def test_blockers_name_databases_that_pg_hba_conf_forbids(strict: Any, make_stage: Make) -> None:
    stage = make_stage(strict)
    stage.create()
    part, details = stage.part(), stage.engine.describe(())
    assert stage.engine.blockers(part, details) == []
    strict.allow("postgres", stage.name)
    (found,) = stage.engine.blockers(part, details)
    assert "pg_hba.conf on the server does not let" in found and "restore with --in-place" in found
    (pattern,) = re.findall("as '(/.*?)'", found)
    strict.allow("postgres", stage.name, f'"{pattern}"')
    assert stage.engine.blockers(part, details) == []
    strict.allow(stage.name)
    with pytest.raises(DatabaseError, match="Add a line for this role and this database to pg_hba.conf"):
        stage.engine.blockers(part, details)


def test_plan_notes_name_limits_and_grantors(stage: Stage) -> None:
    details = stage.engine.describe(())
    assert stage.engine.plan_notes(details) == []
    stage.admin(f"ALTER ROLE {stage.role} SET temp_file_limit = '1GB'")
    try:
        limit, grantors = stage.engine.plan_notes(replace(details, grantors=("editor",)))
    finally:
        stage.admin(f"ALTER ROLE {stage.role} RESET temp_file_limit")
    assert "temp_file_limit is 1GB" in limit and 'ALTER ROLE "igny8" SET temp_file_limit = -1;' in limit
    assert "privileges that editor granted will be granted by the owners" in grantors


def test_plan_notes_name_session_replication_role(stage: Stage) -> None:
    details = stage.engine.describe(())
    stage.admin(f"ALTER ROLE {stage.role} SET session_replication_role = replica")
    try:
        (note,) = stage.engine.plan_notes(details)
    finally:
        stage.admin(f"ALTER ROLE {stage.role} RESET session_replication_role")
    assert "foreign keys are not enforced" in note
    assert 'ALTER ROLE "igny8" SET session_replication_role = origin;' in note


@pytest.mark.postgres(15)
def test_blockers_name_extensions(stage: Stage) -> None:
    extensions = {"plpgsql": "1", "hstore": "1", "pg_buffercache": "1", "postgis": "3", "pg_cron": "1"}
    found = blockers(stage, extensions=extensions)
    assert [text.split(":")[0][:52] for text in found] == [
        "The extension pg_cron is not installed on this serve",
        "The extension postgis is not installed on this serve",
        "Only a superuser may create the extension pg_bufferc",
        "The database has the extension pg_cron, which can ex",
    ]
    part, details = stage.part(), replace(stage.engine.describe(()), extensions={"pg_buffercache": "1"})
    stage.role = "postgres"
    assert stage.engine.blockers(part, details) == []


def test_target_state_lists_roles_extensions_and_sessions(stage: Stage) -> None:
    extensions = {"plpgsql": "1.0", "no_such": "2"}
    details = replace(stage.engine.describe(()), roles=("gone",), extensions=extensions)
    with stage.server.connect(stage.name, superuser=True) as session:
        session.execute("SET application_name = 'psql'")
        state = stage.engine.target_state(stage.part(dump_version="99.1"), details)
    assert Role(name="gone", exists=False) in state.roles
    assert Extension(name="no_such", version="2", available="") in state.extensions
    assert Extension(name="plpgsql", version="1.0", available="1.0") in state.extensions
    # Every role may see the application name of another role's session, but not its address.
    assert state.sessions == (Sessions(application="psql", address="hidden", role="postgres", count=1),)
    assert [(tool.needed, tool.present.split(".")[0]) for tool in state.tools] == [(99, "18")]


def test_target_state_without_pg_restore_is_empty(stage: Stage) -> None:
    part, details = stage.part(), stage.engine.describe(())
    stage.bin_dir = stage.server.data
    (tool,) = stage.engine.target_state(part, details).tools
    assert (tool.program, tool.needed, tool.present, tool.path) == ("pg_restore", 18, "", "")


def test_blockers_name_pooler(stage: Stage) -> None:
    """A pooler gives each client a process number that differs from the server's."""

    def renumbered(data: bytes) -> bytes:
        head, key, tail = data.partition(b"K\0\0\0\x0c")
        return head + key + b"\x7f\x01\x02\x03" + tail[4:] if key else data

    details, part = stage.engine.describe(()), stage.part()
    server = (stage.server.host, stage.server.port)
    with Relay("127.0.0.1", server, from_server=renumbered) as relay:
        (found,) = stage.engine_with(PORT=str(relay.port)).blockers(part, details)
    assert "is a connection pooler" in found


class LogicalServer(PostgresServer):
    """A server with prepared transactions and logical decoding that can become a replica."""

    def _options(self) -> list[str]:
        return [*super()._options(), "-c", "wal_level=logical", "-c", "max_prepared_transactions=4"]

    def become_replica(self) -> None:
        self.stop()
        (self.data / "standby.signal").touch()
        self._account.own(self.data)
        self._launch()

    def become_primary(self) -> None:
        self.stop()
        (self.data / "standby.signal").unlink()
        self._launch()


@pytest.fixture
def logical(postgres_servers: PostgresServers) -> Iterator[LogicalServer]:
    base = private_folder("igny8-logical-")
    try:
        server = LogicalServer(postgres_servers.get(15).bin_dir, base, durable=False)
        with server:
            yield server
    finally:
        shutil.rmtree(base)


def test_blockers_name_what_prevents_rename(logical: LogicalServer, make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(logical)
    stage.create()
    details = stage.make_staging()
    with logical.connect(stage.name) as session:
        session.execute("BEGIN; INSERT INTO item (name) VALUES ('x'); PREPARE TRANSACTION 'two-phase'")
    assert [text.partition(":")[0] for text in blockers(stage)] == [
        "Prepared transactions are open in the live database"
    ]
    with pytest.raises(DatabaseError, match="It has prepared transactions: two-phase"):
        stage.engine.swap(stage.staging, stage.previous, details)
    assert stage.engine.target_state(stage.part(), details).prepared_transactions == ("two-phase",)
    stage.sql("ROLLBACK PREPARED 'two-phase'")

    stage.sql("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')", superuser=True)
    assert [text.partition(" belong")[0] for text in blockers(stage)] == ["Replication slots"]
    assert stage.engine.target_state(stage.part(), details).replication_slots == ("feed",)
    stage.sql("SELECT pg_drop_replication_slot('feed')", superuser=True)

    options = "(connect = false, slot_name = 'feed')"
    stage.sql(f"CREATE SUBSCRIPTION copy CONNECTION '' PUBLICATION p WITH {options}", superuser=True)
    assert blockers(stage) == []
    stage.sql("ALTER SUBSCRIPTION copy ENABLE", superuser=True)
    state = stage.engine.target_state(stage.part(), details)
    assert state.subscriptions == (Subscription(name="copy", enabled=True),)
    found = blockers(stage)
    assert (
        "Subscriptions are enabled in the live database: disable them (ALTER SUBSCRIPTION ... DISABLE)."
        in found
    )
    stage.sql("ALTER SUBSCRIPTION copy DISABLE; ALTER SUBSCRIPTION copy SET (slot_name = NONE);"
              " DROP SUBSCRIPTION copy", superuser=True)  # fmt: skip

    stage.sql("CREATE UNLOGGED TABLE passing (); DROP TABLE part")
    logical.become_replica()
    details = stage.engine.describe(())
    assert details.tables == ("public.item", "public.passing")
    assert details.excluded_data == ("public.passing",)  # a replica has no rows of an unlogged table
    assert b"".join(stage.engine.dump(details)).startswith(b"PGDMP")
    assert blockers(stage) == ["The server is a replica: restore on the primary."]
    logical.become_primary()
