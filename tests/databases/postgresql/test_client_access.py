"""Client programs connect as Django does, and the password stays hidden."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from demo.server import PostgresServer
from psycopg import sql

from igny8_backup.databases.postgresql.client_access import client_access
from igny8_backup.databases.postgresql.connections.connection import Connection
from igny8_backup.databases.postgresql.encodings import as_argument
from igny8_backup.errors import DatabaseError, FilesError, ToolError
from igny8_backup.streams.process import run_process
from tests.databases.fakes import fake, link
from tests.databases.relay import Relay
from tests.databases.stage import Stage, blocks_of

HARD = ["a=b it's c=d", 'say "hi" back\\slash %s %', "Straße 税 " + "ä" * 24]
PASSWORDS = ["a:b\\c", "space and 'quote'", "pässwörd 密", ":" * 5 + "\\" * 5]


def dumped(stage: Stage, **changed: Any) -> bytes:
    engine = stage.engine_with(**changed)
    return b"".join(engine.dump(engine.describe(())))


@pytest.mark.parametrize("name", HARD)
def test_dump_and_load_with_unusual_database_name(pg: PostgresServer, make_stage: Any, name: str) -> None:
    stage: Stage = make_stage(pg, name=name)
    stage.create()
    stage.make_staging(jobs=2)
    assert stage.databases() == sorted([stage.name, stage.staging])
    assert stage.sql("SELECT count(*) FROM part", database=stage.staging) == [(100,)]
    stage.engine.drop(stage.staging)


@pytest.mark.parametrize("password", PASSWORDS)
def test_dump_with_unusual_password(stage: Stage, password: str) -> None:
    role = stage.make_role("odd", "LOGIN IN ROLE pg_read_all_data")
    stage.admin(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))
    assert dumped(stage, USER=role, PASSWORD=password).startswith(b"PGDMP")
    with pytest.raises(DatabaseError) as caught:
        dumped(stage, USER=role, PASSWORD=password + "x")
    assert password not in str(caught.value)


def test_client_access_password_with_line_break_is_refused(tmp_path: Path) -> None:
    connection = Connection({"dbname": "x", "password": "two\nlines"}, alias="shop")
    with pytest.raises(DatabaseError, match="line break") as caught, client_access(connection, tmp_path):
        pass
    assert "two" not in str(caught.value)


def test_client_access_secret_without_variable_is_refused(tmp_path: Path) -> None:
    connection = Connection({"dbname": "x", "sslpassword": "hidden"}, alias="shop")
    with pytest.raises(DatabaseError, match="sslpassword") as caught, client_access(connection, tmp_path):
        pass
    assert "hidden" not in str(caught.value)


def test_dump_through_unix_socket(stage: Stage) -> None:
    assert stage.server.socket_dir is not None
    assert dumped(stage, HOST=str(stage.server.socket_dir)).startswith(b"PGDMP")


def test_dump_over_ipv6(stage: Stage) -> None:
    with Relay("::1", (stage.server.host, stage.server.port)) as relay:
        assert dumped(stage, HOST="::1", PORT=str(relay.port)).startswith(b"PGDMP")
        assert relay.connections > 2


def test_dump_with_service_file(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = stage.server
    lines = [f"host={server.host}", f"port={server.port}", f"user={server.role}", f"dbname={stage.name}"]
    path = tmp_path / "services.conf"
    monkeypatch.setenv("PGSERVICEFILE", str(path))
    nothing = {"NAME": "", "USER": "", "HOST": "", "PORT": "", "OPTIONS": {"service": "shop"}}
    path.write_text("\n".join(["[shop]", *lines, f"password={server.password}"]))
    assert dumped(stage, PASSWORD="", **nothing).startswith(b"PGDMP")
    path.write_text("\n".join(["[shop]", *lines]))
    assert dumped(stage, **nothing).startswith(b"PGDMP")
    # Django's settings override the service file, for client programs as for Django.
    path.write_text("\n".join(["[shop]", *lines[:3], "dbname=another"]))
    engine = stage.engine_with(USER="", HOST="", PORT="", OPTIONS={"service": "shop"})
    data = b"".join(engine.dump(engine.describe(())))
    engine.create_staging(stage.staging, engine.describe(()))
    engine.load(stage.staging, blocks_of(data), jobs=1)
    assert stage.sql("SELECT count(*) FROM part", database=stage.staging) == [(100,)]


def test_dump_with_passfile_from_options(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "pgpass"
    path.touch(mode=0o600)
    path.write_text(f"*:*:*:{stage.role}:{stage.server.password}\n")
    assert dumped(stage, PASSWORD="", OPTIONS={"passfile": str(path)}).startswith(b"PGDMP")


def test_client_access_moves_pgpassword_to_passfile(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", stage.server.password)
    assert dumped(stage, PASSWORD="").startswith(b"PGDMP")
    with client_access(stage.engine_with(PASSWORD="").source, stage.scratch) as access:
        assert "PGPASSWORD" not in access.env


def test_dump_ignores_client_encoding(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    assert b"SET client_encoding = 'UTF8'" in dumped(stage)


def test_client_access_passes_options_without_variable_as_arguments(stage: Stage) -> None:
    options = {"keepalives_idle": "30", "sslmode": "prefer", "application_name": "web"}
    with client_access(stage.engine_with(OPTIONS=options).source, stage.scratch) as access:
        assert "keepalives_idle=30" in access.arguments[0]
        assert (access.env["PGSSLMODE"], access.env["PGAPPNAME"]) == ("prefer", "igny8_backup")
        assert "PGCLIENTENCODING" not in access.env
    assert dumped(stage, OPTIONS=options).startswith(b"PGDMP")


def test_client_access_without_usable_scratch_raises(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    access = client_access(stage.engine.source, tmp_path / "file" / "below")
    with pytest.raises(FilesError, match="SCRATCH_DIR"), access:
        pass


def test_client_access_passfile_is_private_and_removed(stage: Stage) -> None:
    with client_access(stage.engine.source, stage.scratch) as access:
        (handle,) = access.pass_fds
        assert os.fstat(handle).st_mode & 0o777 == 0o600
        argv = ["/bin/cat", f"/proc/self/fd/{handle}"]
        text = run_process(argv, pass_fds=access.pass_fds).decode()
        assert text == f"*:*:*:*:{stage.server.password}\n"
        assert list(stage.scratch.iterdir()) == []
    with pytest.raises(OSError):
        os.fstat(handle)


def test_running_pg_dump_shows_no_secret(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", stage.server.url(stage.name))
    monkeypatch.setenv("PGPASSWORD", stage.server.password)
    stage.bin_dir = tmp_path / "bin"
    pid_file, go_on = tmp_path / "pid", tmp_path / "go-on"
    script = f"echo $$ > {pid_file}; echo started >&2; while [ ! -e {go_on} ]; do sleep 0.05; done; exit 7"
    fake(stage.bin_dir, "pg_dump", script)
    link(stage.bin_dir, stage.server.bin_dir / "pg_restore")
    engine = stage.engine
    details = engine.describe(())
    seen: list[bytes] = []

    def inspect_process() -> None:
        try:
            while not (pid_file.exists() and pid_file.read_text().strip()):
                time.sleep(0.01)
            process = Path("/proc") / pid_file.read_text().strip()
            seen.extend(process.joinpath(name).read_bytes() for name in ("cmdline", "environ"))
        finally:
            go_on.touch()

    watcher = threading.Thread(target=inspect_process)
    watcher.start()
    with closing(engine.dump(details)) as blocks, pytest.raises(ToolError) as caught:
        list(blocks)
    watcher.join()
    arguments, environment = seen
    assert b"--format=custom" in arguments and b"PGHOST=" in environment
    texts = [*seen, str(caught.value).encode(), repr(caught.value).encode(), repr(engine.source).encode()]
    for text in texts:
        assert stage.server.password.encode() not in text
    assert "status 7" in str(caught.value)


def test_argument_keeps_bytes_that_are_no_text_of_the_encoding() -> None:
    """In a database of the encoding SQL_ASCII, a name can be any bytes."""
    name = b"caf\xe9"
    assert os.fsencode(as_argument(name.decode("utf-8", "surrogateescape"), "SQL_ASCII")) == name
