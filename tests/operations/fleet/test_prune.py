"""Pruning, copies and rotations of a storage with fleet backups."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.catalog.fleet_restores import Document, write
from igny8_backup.formats import keys
from igny8_backup.formats.documents.fleet_restore import (
    DONE,
    FAILED,
    PLANNING,
    READY,
    RESTORE,
    SCHEMA,
    SWAPPED,
    SWAPPING,
    FleetRestore,
    HostRestore,
)
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.copies.run import choose_copies, copy_backups, open_copy
from igny8_backup.operations.fleet.request import FleetRequest
from igny8_backup.operations.maintain.orphans import find_orphans
from igny8_backup.operations.maintain.pin import pin
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.retention.rules import Policy
from igny8_backup.signing.trust import Trust
from tests.operations.fleet.conftest import NAMES, FleetInProcess

LONG = timedelta(days=100)


def pruning(fleet: FleetInProcess) -> BackupContext:
    context = fleet.context("admin")
    return replace(context, config=replace(context.config, retention=Policy(last=1)))


def folders(fleet: FleetInProcess) -> set[str]:
    """Return the ids of the fleet backups that have a folder."""
    return {item.key.split("/")[1] for item in fleet.base.store.list(keys.FLEETS)}


def test_records_of_a_fleet_backup_outlive_its_backups_for_a_time(fleet: FleetInProcess) -> None:
    first = fleet.run().record.id
    fleet.clock.ahead += timedelta(days=1)
    second = fleet.run().record.id
    assert len(prune(pruning(fleet)).removed) == 3
    assert folders(fleet) == {first, second}, "they are young"
    fleet.clock.ahead += LONG
    third = fleet.run().record.id
    assert len(prune(pruning(fleet)).removed) == 3
    assert folders(fleet) == {third}


def test_record_is_kept_while_one_of_its_backups_exists(fleet: FleetInProcess) -> None:
    first = fleet.run().record
    pin(fleet.context("admin"), first.parts[0].backup_id, "a test")
    fleet.clock.ahead += LONG
    second = fleet.run().record
    prune(pruning(fleet))
    assert folders(fleet) == {first.id, second.id}
    assert {item.host for item in fleet.base.catalog.manifests()} == {"web-1", "web-2", "web-3"}


def test_record_is_kept_while_a_manifest_cannot_be_read(fleet: FleetInProcess) -> None:
    first = fleet.run().record
    fleet.clock.ahead += LONG
    fleet.run()
    fleet.base.store.put_small(keys.manifest_key(first.parts[0].backup_id), b"{")
    prune(pruning(fleet))
    assert first.id in folders(fleet)


def test_folder_with_unknown_objects_is_left_alone(fleet: FleetInProcess) -> None:
    old = keys.make_id(fleet.clock() - LONG, "00aaaa")
    fleet.base.store.put_small(f"{keys.fleet_folder(old)}later-release.json", b"{}")
    fleet.run()
    prune(pruning(fleet))
    assert old in folders(fleet)


@pytest.mark.parametrize("hosts", [(), ("web-1",)])
def test_records_of_fleet_backups_are_no_orphans(fleet: FleetInProcess, hosts: tuple[str, ...]) -> None:
    fleet.run(FleetRequest(hosts=hosts))
    report = find_orphans(fleet.context("admin"))
    assert not report.orphans and not report.doubtful


def test_copies_have_the_parts_of_a_fleet_backup_and_no_records(
    fleet: FleetInProcess, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "offsite").mkdir()
    settings.STORAGES = {
        **settings.STORAGES,
        "offsite": {**settings.STORAGES["dbbackup"], "OPTIONS": {"location": str(tmp_path / "offsite")}},
    }
    record = fleet.run().record
    fleet.own["admin"] = {"COPIES": {"offsite": {"storage": "offsite"}}}
    context = fleet.context("admin")
    (result,) = copy_backups(context, choose_copies(context)).copies
    assert set(result.copied) == {part.backup_id for part in record.parts} and not result.failed
    with open_copy(context, context.config.copies["offsite"]) as copy:
        assert {item.fleet for item in copy.catalog.manifests()} == {record.id}
        assert not list(copy.store.list(keys.FLEETS))
        fleet.clock.ahead += LONG
        assert prune(copy).complete


def store_restore(fleet: FleetInProcess, phase: str, **states: str) -> str:
    """Store the records of a fleet restore of long ago, in this ``phase``; return its id."""
    then = fleet.clock() - LONG
    restore = FleetRestore(
        schema=SCHEMA,
        id=keys.make_id(then, f"00{len(states):04}"),
        action=RESTORE,
        fleet=keys.make_id(then, "00bbbb"),
        host="admin",
        environment="",
        started=then,
        heartbeat=then,
        decide_before=then,
        phase=phase,
        hosts=NAMES,
        finished=then if phase == DONE else None,
    )
    hosts: list[Document] = [
        HostRestore(schema=SCHEMA, id=restore.id, host=f"web-{name[-1]}", state=state, heartbeat=then)
        for name, state in states.items()
    ]
    for document in [restore, *hosts]:
        write(fleet.base.store, Trust(), None, document)
    return restore.id


def test_records_of_ended_fleet_restores_are_deleted(fleet: FleetInProcess) -> None:
    done = store_restore(fleet, DONE, web1=SWAPPED, web2=SWAPPED, web3=FAILED)
    abandoned = store_restore(fleet, PLANNING)
    waiting = store_restore(fleet, SWAPPING, web1=SWAPPED, web2=READY)
    damaged = store_restore(fleet, DONE, web1=SWAPPED)
    fleet.base.store.put_small(keys.fleet_restore_part_key(damaged, "web-2"), b"{")
    fleet.run()
    prune(pruning(fleet))
    assert not {done, abandoned} & folders(fleet)
    assert {waiting, damaged} < folders(fleet), "a host has still to swap, or may have"
