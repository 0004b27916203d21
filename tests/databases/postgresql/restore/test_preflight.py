"""What a restore is refused for, before anything is made, each with its way out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from demo.account import private_folder
from demo.server import PostgresServer

from igny8_backup.databases.values import Extension, Role, Sessions, Subscription
from igny8_backup.errors import DatabaseError
from igny8_backup.formats.details import DatabaseSetting, Privilege
from tests.databases.relay import Relay
from tests.databases.stage import Stage
from tests.services.postgres import PostgresServers

all_majors = pytest.mark.postgres(15, 16, 18)


def blockers(stage: Stage, *, part: dict[str, str] | None = None, **details: object) -> list[str]:
    engine = stage.engine
    found = engine.blockers(
        stage.part(**(part or {})),
        replace(engine.describe(()), **details),  # type: ignore[arg-type]
    )
    return found


@all_majors
def test_nothing_is_in_the_way_of_a_backup_of_this_server(stage: Stage) -> None:
    assert blockers(stage) == []
    details, part = stage.engine.describe(()), stage.part()
    stage.server.drop_database(stage.name)
    assert stage.engine.blockers(part, details) == []


def test_a_server_older_than_the_source_is_refused(stage: Stage) -> None:
    (found,) = blockers(stage, part={"server_version": "99.1"})
    assert "dump is of PostgreSQL 99.1" in found and "restore to 99 or newer" in found


def test_a_client_older_than_the_dump_is_refused(stage: Stage) -> None:
    (found,) = blockers(stage, part={"dump_version": "99.2"})
    assert "written by pg_dump 99.2" in found and "postgresql-client-99" in found


@all_majors
def test_roles_that_own_must_exist_and_be_ours_to_act_for(stage: Stage) -> None:
    other, reader = stage.make_role("other"), stage.make_role("reader")
    (found,) = blockers(stage, owners=("gone", other), roles=("gone", 'al"so', other, reader))[:1]
    assert found.endswith('CREATE ROLE "al""so"; CREATE ROLE "gone";')
    assert blockers(stage, owners=(other,), roles=(other, reader)) == [
        f'The role igny8 cannot act for {other}, which owns things: GRANT "{other}" TO "igny8";'
    ]
    assert blockers(stage, roles=(stage.server.role, reader)) == []
    stage.admin(f"GRANT {other} TO {stage.server.role}")
    assert blockers(stage, owners=(other,), roles=(other,), owner=other) == []


@pytest.mark.postgres(16, 18)
def test_membership_without_the_rights_of_the_owner_is_not_enough(stage: Stage) -> None:
    other = stage.make_role("other")
    stage.admin(f"GRANT {other} TO {stage.server.role} WITH INHERIT FALSE, SET TRUE")
    assert blockers(stage, owners=(other,)) == []
    assert len(blockers(stage, owner=other)) == 1
    stage.admin(f"GRANT {other} TO {stage.server.role} WITH INHERIT TRUE, SET FALSE")
    assert len(blockers(stage, owners=(other,))) == 1


def test_roles_on_the_database_itself_matter_where_none_is_live(stage: Stage) -> None:
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


def test_a_role_that_may_not_create_databases_or_does_not_own_the_live_one_is_told(stage: Stage) -> None:
    role = stage.make_role("poor", "LOGIN IN ROLE pg_read_all_data")
    details = replace(stage.engine.describe(()), owner=role, owners=(role,), roles=(role,))
    found = stage.engine_with(USER=role).blockers(stage.part(), details)
    assert found == [
        f'The role {role} may not create databases: ALTER ROLE "{role}" CREATEDB;'
        " if nobody can grant that, restore with --in-place.",
        "The live database belongs to a role whose privileges this role lacks: restore as its owner.",
    ]


@pytest.mark.postgres(15)
def test_extensions_must_be_there_and_ours_to_create(stage: Stage) -> None:
    wanted = {"plpgsql": "1", "hstore": "1", "pg_buffercache": "1", "postgis": "3", "pg_cron": "1"}
    found = blockers(stage, extensions=wanted)
    assert [text.split(":")[0][:52] for text in found] == [
        "The extension pg_cron is not installed on this serve",
        "The extension postgis is not installed on this serve",
        "Only a superuser may create the extension pg_bufferc",
        "The database has the extension pg_cron, which can ex",
    ]
    part, details = stage.part(), replace(stage.engine.describe(()), extensions={"pg_buffercache": "1"})
    stage.role = "postgres"
    assert stage.engine.blockers(part, details) == []


def test_what_is_lacking_and_who_is_connected_is_told(stage: Stage) -> None:
    wanted = {"plpgsql": "1.0", "no_such": "2"}
    details = replace(stage.engine.describe(()), roles=("gone",), extensions=wanted)
    with stage.server.connect(stage.name, superuser=True) as session:
        session.execute("SET application_name = 'psql'")
        around = stage.engine.target_state(stage.part(dump_version="99.1"), details)
    assert Role(name="gone", exists=False) in around.roles
    assert Extension(name="no_such", version="2", available="") in around.extensions
    assert Extension(name="plpgsql", version="1.0", available="1.0") in around.extensions
    # What another role's session is called may be seen by all, where it comes from may not.
    assert around.sessions == (Sessions(application="psql", address="hidden", role="postgres", count=1),)
    assert [(tool.needed, tool.present.split(".")[0]) for tool in around.tools] == [(99, "18")]


def test_a_program_that_is_not_there_is_told(stage: Stage) -> None:
    part, details = stage.part(), stage.engine.describe(())
    stage.bin_dir = stage.server.data
    (tool,) = stage.engine.target_state(part, details).tools
    assert (tool.program, tool.needed, tool.present, tool.path) == ("pg_restore", 18, "", "")


def test_a_pooler_before_the_server_is_told(stage: Stage) -> None:
    """A pooler gives each client a number of its own, which is not that of the server's process."""

    def renumbered(data: bytes) -> bytes:
        head, key, tail = data.partition(b"K\0\0\0\x0c")
        return head + key + b"\x7f\x01\x02\x03" + tail[4:] if key else data

    details, part = stage.engine.describe(()), stage.part()
    server = (stage.server.host, stage.server.port)
    with Relay("127.0.0.1", server, answering=renumbered) as relay:
        (found,) = stage.engine_with(PORT=str(relay.port)).blockers(part, details)
    assert "is a connection pooler" in found


class LogicalServer(PostgresServer):
    """A server that prepares transactions and decodes its log, and can be made a replica of nobody."""

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


def test_what_would_stop_the_rename_or_follow_the_old_database_is_told(
    logical: LogicalServer, make_stage: Callable[..., Stage]
) -> None:
    stage = make_stage(logical)
    stage.create()
    details = stage.make_side()
    with logical.connect(stage.name) as session:
        session.execute("BEGIN; INSERT INTO item (name) VALUES ('x'); PREPARE TRANSACTION 'two-phase'")
    assert [text.partition(":")[0] for text in blockers(stage)] == [
        "Prepared transactions are open in the live database"
    ]
    with pytest.raises(DatabaseError, match="It has prepared transactions: two-phase"):
        stage.engine.swap(stage.aside("side"), stage.aside("before"), details)
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
    around = stage.engine.target_state(stage.part(), details)
    assert around.subscriptions == (Subscription(name="copy", enabled=True),)
    found = blockers(stage)
    assert "Subscriptions are enabled in the live database: ALTER SUBSCRIPTION ... DISABLE." in found
    stage.sql("ALTER SUBSCRIPTION copy DISABLE; ALTER SUBSCRIPTION copy SET (slot_name = NONE);"
              " DROP SUBSCRIPTION copy", superuser=True)  # fmt: skip

    stage.sql("CREATE UNLOGGED TABLE passing (); DROP TABLE part")
    logical.become_replica()
    details = stage.engine.describe(())
    assert details.tables == ("public.item", "public.passing")
    assert details.excluded_data == ("public.passing",)  # a replica has no rows of it
    assert b"".join(stage.engine.dump(details)).startswith(b"PGDMP")
    assert blockers(stage) == ["The server is a replica: restore on the primary."]
    logical.become_primary()
