"""A fleet backup that each host restores by its id."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from igny8_backup.errors import IntegrityError, UsageError
from igny8_backup.formats import keys, records
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract
from igny8_backup.operations.history.fleet_members import read_one
from igny8_backup.operations.restore.planning.plan import RestoreRequest
from igny8_backup.operations.restore.run import RestoreSession
from tests.operations.fleet.conftest import FleetInProcess


def restore(fleet: FleetInProcess, host: str, fleet_id: str) -> tuple[str, ...]:
    """Restore the part of a host; return the notes of its plan."""
    session = RestoreSession(fleet.context(host))
    plan = session.plan(RestoreRequest(backup_id=fleet_id))
    session.execute(plan)
    return plan.notes


def test_each_host_restores_its_own_part_and_names_the_others(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    for name in ("web-1", "web-2", "web-3"):
        (fleet.folder / name / "index.html").write_text("defaced\n")
    first = restore(fleet, "web-1", record.id)
    assert any("also has parts of web-2, web-3." in note for note in first)
    assert (fleet.folder / "web-1" / "index.html").read_text() == "the start page of web-1\n"
    assert (fleet.folder / "web-2" / "index.html").read_text() == "defaced\n"
    second = restore(fleet, "web-2", record.id)
    assert any("The host web-1 has restored this fleet backup, at" in note for note in second)
    assert any("also has parts of web-3." in note for note in second)
    third = restore(fleet, "web-3", record.id)
    assert not any("also has parts" in note for note in third)
    for name in ("web-1", "web-2", "web-3"):
        assert (fleet.folder / name / "index.html").read_text() == f"the start page of {name}\n"


def test_plan_names_the_parts_that_an_incomplete_fleet_backup_lacks(fleet: FleetInProcess) -> None:
    fleet.down.add("web-3")
    fleet.clock.step = timedelta(minutes=1)
    record = fleet.run().record
    assert record.outcome == "incomplete"
    plan = RestoreSession(fleet.context("web-1")).plan(RestoreRequest(backup_id=record.id))
    assert any(f"{record.id} lacks web-3: files web-3: no worker" in note for note in plan.notes)
    with pytest.raises(UsageError, match="no part that could be restored on the host 'web-3'"):
        RestoreSession(fleet.context("web-3")).plan(RestoreRequest(backup_id=record.id))


def test_record_that_names_a_backup_of_another_fleet_is_refused(fleet: FleetInProcess) -> None:
    first, second = fleet.run().record, fleet.run().record
    own = [part for part in first.parts if part.host == "web-1"]
    parts = (*own, *(part for part in second.parts if part.host != "web-1"))
    context = fleet.context("web-1")
    context.store.put_small(keys.fleet_key(second.id), records.to_json(replace(second, parts=parts)))
    with pytest.raises(IntegrityError, match="which is not a part of it"):
        RestoreSession(context).plan(RestoreRequest(backup_id=second.id))


def test_commands_for_one_backup_name_the_parts_of_a_fleet_backup(fleet: FleetInProcess) -> None:
    record = fleet.run().record
    context = fleet.context("web-1")
    with pytest.raises(UsageError) as caught:
        read_one(context, record.id, command="verify_backup")
    assert all(part.backup_id in str(caught.value) for part in record.parts)
    with pytest.raises(UsageError, match="There is no backup"):
        read_one(context, "20200101T000000Z-7f3a9c", command="verify_backup")
    request = ExtractRequest(backup_id=record.id, to_dir=fleet.folder / "extracted")
    assert [tree.part.name for tree in plan_extract(context, request).trees] == ["web-1"]
