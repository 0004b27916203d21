"""``list_backups`` and ``show_backup`` about fleet backups."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from igny8_backup.catalog.fleets import Fleet
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.fleet import SCHEMA, FleetPart, FleetRecord
from igny8_backup.formats.manifest import COMPLETE, RUNNING
from igny8_backup.management.fleet_text import fleet_lines, fleet_table, unfinished_lines
from tests.operations.fleet.conftest import NAMES, FleetInProcess

NOW = datetime(2026, 11, 30, 4, tzinfo=UTC)


def run(*argv: str) -> str:
    out = StringIO()
    call_command(*argv, stdout=out, stderr=StringIO())
    return out.getvalue()


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def record_of(hosts: int, **changed: Any) -> FleetRecord:
    """Return the record of a fleet backup on so many hosts, each with one tree."""
    parts = tuple(
        FleetPart(host=f"web-{number}", trees=("uploads",), state=COMPLETE, backup_id=f"id-{number}")
        for number in range(hosts)
    )
    made = FleetRecord(
        schema=SCHEMA,
        id="20261130T011500Z-ab12cd",
        host="admin",
        environment="production",
        label="nightly",
        started=NOW - timedelta(hours=2),
        heartbeat=NOW,
        deadline=NOW + timedelta(hours=10),
        outcome=COMPLETE,
        finished=NOW,
        parts=parts,
    )
    return replace(made, **changed)


def test_list_shows_the_parts_below_their_fleet_backup(fleet: FleetInProcess) -> None:
    first = fleet.run().record
    fleet.clock.ahead += timedelta(minutes=1)
    second = fleet.run().record
    text = run("list_backups")
    ids = [
        found
        for record in (second, first)
        for found in (record.id, *[part.backup_id for part in reversed(record.parts)])
    ]
    assert [word for word in first_words(text) if word in ids] == ids
    (line,) = [line for line in text.splitlines() if line.startswith(second.id)]
    assert line.split()[-4:] == ["fleet", "3", "hosts", "complete"]
    assert {item["manifest"]["fleet"] for item in json.loads(run("list_backups", "--json"))} == {
        first.id,
        second.id,
    }
    assert second.id not in run("list_backups", "--host", "web-1"), "a line about the whole would mislead"


def test_list_of_fleet_backups_has_a_line_for_each(fleet: FleetInProcess) -> None:
    (fleet.folder / "storage").mkdir()
    assert run("list_backups", "--fleets").startswith("There is no such fleet backup in ")
    fleet.run()
    fleet.clock.ahead += timedelta(minutes=1)
    fleet.down = {"web-2"}
    fleet.clock.step = timedelta(seconds=1)
    second = fleet.run().record
    text = run("list_backups", "--fleets")
    assert [word for word in first_words(text) if keys.is_id(word)][0] == second.id
    assert "INCOMPLETE, 2 of 3 parts complete" in text and "\n2 fleet backups in " in text
    reason = (
        "web-2: files web-2: FAILED: no worker of the queue 'backup-web-2' has begun it within 15 minutes"
    )
    assert f"INCOMPLETE: the fleet backup {second.id}, not complete: {reason}" in text
    assert reason in run("list_backups")
    found = json.loads(run("list_backups", "--fleets", "--json"))
    assert [item["fleet"]["outcome"] for item in found] == ["incomplete", "complete"]
    assert len(json.loads(run("list_backups", "--fleets", "--json", "--host", "web-9"))) == 0
    assert len(json.loads(run("list_backups", "--fleets", "--json", "--part", "web-2"))) == 2


def test_list_reports_a_record_that_cannot_be_read(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    fleet.base.store.put_small(keys.fleet_key(record.id), b"{")
    assert record.parts[0].backup_id in run("list_backups"), "the parts are listed all the same"
    with pytest.raises(CommandError) as caught:
        run("list_backups", "--fleets")
    assert caught.value.returncode == 3


def test_show_of_a_fleet_backup_lists_its_parts(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    lines = run("show_backup", record.id).splitlines()
    assert lines[0] == f"Fleet backup {record.id}" and lines[2] == "  3 hosts: complete"
    assert lines[3:] == [
        f"  {name}: files {name}: complete, backup {part.backup_id}"
        for name, part in zip(NAMES, record.parts, strict=True)
    ]
    assert json.loads(run("show_backup", record.id, "--json")) == {
        "fleet": json.loads(records.to_json(record)),
        "untrusted": "",
    }
    assert f"part of the fleet backup {record.id}" in run("show_backup", record.parts[0].backup_id)
    with pytest.raises(CommandError, match="is a fleet backup, which has no files of its own"):
        run("show_backup", record.id, "--files")


def test_hundred_hosts_are_shown_on_few_lines() -> None:
    record = record_of(100)
    missing = [replace(part, state="failed", backup_id="", reason="gone") for part in record.parts[:20]]
    incomplete = Fleet(record=replace(record, outcome="incomplete", parts=(*missing, *record.parts[20:])))
    assert len(fleet_table([Fleet(record=record)] * 30, NOW).splitlines()) == 31
    (line,) = unfinished_lines([incomplete, Fleet(record=record)], NOW)
    assert line.endswith("web-4: files uploads: FAILED: gone and 15 more")
    lines = list(fleet_lines(incomplete, NOW))
    assert lines[0] == "Fleet backup 20261130T011500Z-ab12cd (nightly)"
    assert lines[1] == "  coordinated by host admin, environment production, took 2 hours"
    assert lines[2] == "  100 hosts: INCOMPLETE, 80 of 100 parts complete"
    assert lines[3] == "  web-0: files uploads: FAILED: gone"
    assert lines[-1] == "  web-99: files uploads: complete, backup id-99"
    assert len(lines) == 103


def test_coordinator_that_has_stopped_is_told_from_one_at_work() -> None:
    record = record_of(2, outcome=RUNNING, finished=None)
    waiting = replace(
        record, parts=(record.parts[0], replace(record.parts[1], state="waiting", backup_id=""))
    )
    (line,) = unfinished_lines([Fleet(record=waiting)], NOW)
    assert line == f"RUNNING: the fleet backup {record.id}, not complete: web-1: files uploads: WAITING"
    assert "running, 1 of 2 parts complete" in fleet_table([Fleet(record=waiting)], NOW)
    later = NOW + timedelta(hours=1)
    (line,) = unfinished_lines([Fleet(record=waiting)], later)
    assert line.startswith(f"STOPPED: the coordinator of the fleet backup {record.id}, on host admin,")
    assert "STOPPED, 1 of 2 parts complete" in fleet_table([Fleet(record=waiting)], later)


def test_untrusted_record_is_shown_as_such() -> None:
    fleet = Fleet(record=record_of(1), untrusted="it is not signed")
    assert "complete, UNTRUSTED" in fleet_table([fleet], NOW)
    assert "  the record is not trusted: it is not signed" in list(fleet_lines(fleet, NOW))
