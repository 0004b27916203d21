"""The plan of a restore shows the backup, the server, the machine and the workers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from demo.server import PostgresServer

from igny8_backup.formats import records
from igny8_backup.formats.details import DatabaseDetails
from tests.management.commands import Command, run_many
from tests.operations.conftest import Saved


def test_plan_is_shown_in_words_and_as_json(saved: Saved, postgres_15: PostgresServer) -> None:
    project = saved.project
    dry_run = ["restore_all", "--dry-run", "--identity", str(project.identity)]
    session = psycopg.connect(project.server.url(project.database), application_name="gunicorn")
    with session:
        shown, as_json, assumed, too_small = run_many(
            project,
            dry_run,
            [*dry_run, "--json"],
            Command([*dry_run, "--json"], {"ASSUME_SPACE": "3 TB"}),
            [*dry_run, "--assume-space", "1 kB"],
        )
    text = shown.ended(0).stdout
    for line in (
        "  this machine: host web-1, environment test",
        f"  backup {saved.id}: ",
        "from host web-1, environment test; its SECRET_KEY is the same",
        " and is REPLACED",
        ", the server of the backup",
        "pg_restore: 18.",
        "; 18 or newer is needed",
        "    roles: igny8\n",
        "    extensions: plpgsql 1.0 (here 1.0)",
        "    connected: 1 session of gunicorn as igny8 from 127.0.0.1\n",
        "  space for the files of sites-data, uploads on ",
        "; the free space is not visible over SQL, so it is not checked (--assume-space SIZE states it)",
        "  workers: unknown: the broker is in memory",
    ):
        assert line in text, f"{line!r} is not in:\n{text}"
    assert re.search(r", read \d+ seconds? after the database\) to .*, whose files are REPLACED", text)

    plan = as_json.ended(0).json
    (database,) = plan["databases"]
    around = database["surroundings"]
    assert database["same_server"] is True
    assert database["system_identifier"] == around["system_identifier"] != ""
    assert database["server"] == around["server"] == f"{project.server.host}:{project.server.port}"
    assert around["sessions"] == [
        {"application": "gunicorn", "address": "127.0.0.1", "role": "igny8", "count": 1}
    ]
    (tool,) = around["tools"]
    assert tool["needed"] == 18 and tool["present"].startswith("18.")
    assert plan["replaces"] == [project.database] and plan["obstacles"] == []
    assert [(tree["empty"], tree["seconds_after_database"] >= 0) for tree in plan["trees"]] == [
        (False, True)
    ] * 2
    (source,) = plan["sources"]
    assert source["id"] == saved.id and source["secret_key_equal"] is True
    assert spaces(plan) == {"files": False, "databases": False}
    free = {space["kind"]: space["free"] for space in plan["spaces"]}
    assert free["databases"] is None and free["files"] > 1000

    plan = assumed.ended(0).json
    assert spaces(plan)["databases"] is True
    assert {space["free"] for space in plan["spaces"] if space["assumed"]} == {3 * 10**12}
    assert "not enough space on" in too_small.ended(4).stderr and "1.0 kB free (assumed)" in too_small.stderr

    other_server = {"DATABASE_URL": postgres_15.url("nothing_there"), "DJANGO_SECRET_KEY": "another" * 10}
    env = {**other_server, "IGNY8_BACKUP_CLIENT_BIN_DIR": str(postgres_15.bin_dir)}
    (other,) = run_many(project, dry_run, env=env)
    assert other.ended(4).stdout.count("NOTE: SECRET_KEY differs from that of the backup") == 1
    assert "its SECRET_KEY is DIFFERENT" in other.stdout
    assert "which does not exist" in other.stdout
    assert re.search(
        r"server: PostgreSQL 15\S* .*; the backup is from PostgreSQL 18.* \(system \d+\)", other.stdout
    )
    assert "connected: nobody" in other.stdout


def spaces(plan: dict[str, Any]) -> dict[str, bool]:
    return {space["kind"]: space["assumed"] for space in plan["spaces"]}


def test_details_without_server_can_be_read() -> None:
    whole = DatabaseDetails(alias="default", name="x", tables=(), server="db:5432", system_identifier="7")
    plain = json.loads(records.to_json(whole))
    del plain["server"], plain["system_identifier"]
    read = records.from_json(DatabaseDetails, json.dumps(plain).encode(), name="Details", schema=1)
    assert read == replace(whole, server="", system_identifier="")


@pytest.mark.parametrize("wrong", ["a lot", "-1", "5 XB"])
def test_assume_space_with_invalid_size_is_a_usage_error(saved: Saved, wrong: str) -> None:
    (done,) = run_many(saved.project, ["restore_all", f"--assume-space={wrong}"])
    assert f"{wrong!r} is not a size such as 200GB" in done.ended(2).stderr
