"""drill_backup: it restores a whole backup, finds damage, and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.formats import keys
from tests.management import state
from tests.management.commands import Command, run_many
from tests.operations.conftest import Saved
from tests.operations.forging import cut_dump, date_later, put_dump
from tests.services.web import WebServer, web_server


@pytest.fixture
def storage(saved: Saved, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved.project.storage, tmp_path / "storage"))


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def leftovers(saved: Saved) -> list[str]:
    """Databases beside the live one, and what lies in the scratch folder."""
    project = saved.project
    return [name for name in project.databases() if name != project.database] + [
        path.name for path in project.scratch.iterdir()
    ]


def test_drill_backup_restores_everything_and_leaves_nothing(saved: Saved, storage: Path) -> None:
    project = saved.project
    before = state.of_project(project)
    drill: list[str | Path] = ["drill_backup", "--identity", project.identity]
    killed = f"{project.database}__drill_20200101T000000Z"
    other = f"{project.database}__side_20200101T000000Z"
    for name in (killed, other):
        project.server.create_database(name)
    done, listed, shown, keyless, unknown = run_many(
        project,
        *(
            Command(argv, {}, storage)
            for argv in (
                [*drill, "--json"],
                ["list_backups"],
                ["show_backup", saved.id],
                ["drill_backup"],
                ["drill_backup", "20200101T000000Z-0000aa"],
            )
        ),
    )
    assert leftovers(saved) == [other], "leftovers of a killed drill are removed, those of a restore are not"
    project.server.drop_database(other)
    check = done.ended(0).json["check"]
    assert check["depth"] == "drill" and check["damage"] == [] and check["objects"] == check["read"]
    assert done.json["seconds"] > 0
    (found,) = (storage / "igny8/checks" / saved.id).iterdir()
    parsed = keys.parse(f"checks/{saved.id}/{found.name}")
    assert parsed and (parsed.kind, parsed.name) == ("check", "drill")
    assert "drill checked" in " ".join(listed.ended(0).stdout.split())
    assert "drill checked" in shown.ended(0).stdout
    assert "no identity is given" in keyless.ended(1).stderr
    assert "There is no backup" in unknown.ended(2).stderr
    assert state.differences(before, state.of_project(project)) == []


def test_drill_backup_finds_missing_rows_and_foreign_dumps(
    saved: Saved, storage: Path, web: WebServer
) -> None:
    project = saved.project
    project.sql("CREATE TABLE kept AS TABLE content_tag")
    (whole,) = run_many(project, Command(["backup_db", "--json"], {}, storage))
    project.sql("DELETE FROM kept")
    (empty,) = run_many(project, Command(["backup_db", "--json"], {}, storage))
    project.sql("DROP TABLE kept")
    full, dropped = (done.ended(0).json["manifest"]["id"] for done in (whole, empty))
    put_dump(storage, full, dropped)
    date_later(storage, dropped)
    (half,) = run_many(project, Command(["backup_db", "--json"], {}, storage))
    cut = half.ended(0).json["manifest"]["id"]
    cut_dump(storage, cut, project.identity, project.recipient)
    pack = next((storage / "igny8/packs/web-1/uploads").iterdir())
    data = pack.read_bytes()
    pack.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    identity = ["--identity", project.identity]
    commands: list[list[Any]] = [
        ["verify_backup", full, "--depth", "content", *identity],
        ["drill_backup", full, *identity, "--ping", web.url],
        ["drill_backup", dropped, *identity],
        ["drill_backup", saved.id, "--json", *identity],
        ["drill_backup", cut, *identity],
        ["list_backups"],
        ["monitor_backups"],
        ["list_backups", "--json"],
    ]
    fooled, found, older, torn, halved, listed, watched, as_json = run_many(
        project, *(Command(argv, {}, storage) for argv in commands)
    )
    assert "no damage" in fooled.ended(0).stdout, "only a restore finds missing rows"
    assert "public.kept had" in found.ended(6).stderr and "now has 0 rows" in found.stderr
    assert "not while this backup ran: it belongs to another backup" in older.ended(6).stderr
    (finding,) = torn.ended(6).json["findings"]
    assert pack.name in finding["damage"]["key"] and finding["damage"]["kind"] == "altered"
    assert "UNREADABLE: " in halved.ended(6).stderr and "pg_restore cannot read the dump" in halved.stderr
    assert "drill DAMAGED" in " ".join(listed.ended(0).stdout.split())
    assert "FAILED  damage, database default of web-1: backups/" in watched.ended(7).stdout
    assert f"backups/{full}/db/default.dump" in watched.stdout
    unfit = {
        (copy["backup_id"], copy["part"]["name"])
        for item in as_json.ended(0).json
        for copy in item["standings"]
        if copy["unfit"]
    }
    assert unfit == {(full, "default"), (dropped, "default"), (cut, "default"), (saved.id, "uploads")}
    assert [path for _, path, _ in web.asked] == ["/start", "/fail"]
    assert "public.kept had" in web.asked[1][2]
    assert leftovers(saved) == []


def test_prune_backups_leftover_of_a_drill_cannot_be_removed_is_noted(saved: Saved, storage: Path) -> None:
    project = saved.project
    killed = f"{project.database}__drill_20200101T000000Z"
    with project.server.connect("postgres", superuser=True) as session:
        session.execute(f'CREATE DATABASE "{killed}"')
        (pruned,) = run_many(project, Command(["prune_backups"], {}, storage))
        session.execute(f'DROP DATABASE "{killed}"')
    assert "that interrupted drills left could not be removed. " in pruned.ended(0).stderr
