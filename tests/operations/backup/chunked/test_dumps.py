"""Dumps in chunks without a server: kinds, losses, pruning, and a map that is wrong."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.chunks import writer
from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.errors import IntegrityError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext, open_context
from igny8_backup.operations.read.dump import open_dump
from igny8_backup.streams import Blocks
from tests.chunks.archives import noise
from tests.operations.backup.chunked.dumping import PLACEMENT, Host, Killed
from tests.operations.clocks import by_clock

pytestmark = pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed")

SECONDS = 60
ARCHIVE = noise(600_000)
CHANGED = ARCHIVE[:300_000] + b"one row more" + ARCHIVE[300_000:]
TWICE = CHANGED[:100_000] + b"another row" + CHANGED[100_000:]


@pytest.fixture
def machine(context: BackupContext) -> Host:
    return Host(context)


def kind(part: DatabasePart) -> str:
    assert part.chunked
    return part.chunked.kind


def writers(part: DatabasePart) -> set[str | None]:
    """Return the ids of the backups that wrote the packs which the dump needs."""
    return {keys.writer(pack.key) for pack in part.packs}


def ids(machine: Host) -> list[str]:
    return list(machine.made)


def test_days_of_dumps_are_full_incremental_and_differential(machine: Host) -> None:
    full = machine.dump(ARCHIVE)
    machine.clock.forward(hours=1)
    incremental = machine.dump(CHANGED)
    machine.clock.forward(days=1)
    differential = machine.dump(TWICE)
    machine.clock.forward(hours=1)
    last = machine.dump(TWICE + b"the end")
    assert [kind(part) for part in (full, incremental, differential, last)] == [
        FULL, INCREMENTAL, DIFFERENTIAL, INCREMENTAL,
    ]  # fmt: skip
    first, second, third, fourth = ids(machine)
    assert writers(incremental) == {first, second}
    assert writers(differential) == {first, third}, "a differential dump needs packs of the full dump only"
    assert writers(last) == {first, third, fourth}
    assert last.chunked and (last.chunked.full_id, last.chunked.differential_id) == (first, third)
    new = [pack for pack in incremental.packs if keys.writer(pack.key) == second]
    assert sum(pack.raw_bytes for pack in new) < 150_000
    assert all(machine.read(backup_id) == archive for backup_id, archive in machine.made.items())
    assert machine.notes == []


def test_tables_stay_in_their_archives_until_the_next_full_dump(machine: Host) -> None:
    large, changed = noise(400_000, 1), noise(400_000, 1)[:200_000] + noise(300_000, 2)
    full = machine.dump(ARCHIVE, data=[large, b"small"])
    second = machine.dump(CHANGED, data=[changed, b"small"])
    assert machine.placements == [None, PLACEMENT]
    assert [item.key.rpartition("/")[2] for item in second.archives] == [
        f"default.{name}.runs.zst" for name in ("main", "data-01", "data-02")
    ]
    assert len({pack.key for pack in full.packs}) == len(full.packs) == 3, "each archive has packs of its own"
    new = [pack for pack in second.packs if keys.writer(pack.key) == ids(machine)[1]]
    assert sum(pack.raw_bytes for pack in new) < 500_000
    fewer = machine.dump(CHANGED + changed)
    assert fewer.chunked and not fewer.data and not fewer.chunked.data
    third = ids(machine)[2]
    new = [pack for pack in fewer.packs if keys.writer(pack.key) == third]
    assert sum(pack.raw_bytes for pack in new) < 100_000, "chunks are known in whichever archive they are"
    machine.clock.forward(days=8)
    machine.dump(large, data=[TWICE])
    assert machine.placements == [None, PLACEMENT, PLACEMENT, None]
    for backup_id in machine.made:
        assert machine.read_all(backup_id) == [machine.made[backup_id], *machine.made_data[backup_id]]


def test_one_broken_archive_leaves_its_packs_to_the_next_try(
    machine: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PACK_BYTES", 80_000)

    def blocks() -> Blocks:
        yield ARCHIVE[:400_000]
        deadline = time.monotonic() + SECONDS
        while not any(machine.folder.rglob("*.chunks*")):  # the pack of the other archive
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise Killed

    with pytest.raises(Killed):
        machine.dump(ARCHIVE, data=[b"rows"], blocks=blocks)
    made = machine.dump(ARCHIVE, data=[b"rows"])
    assert kind(made) == FULL and ids(machine)[0] in writers(made)
    assert machine.read_all(ids(machine)[1]) == [ARCHIVE, b"rows"]


def test_dump_after_a_week_is_full(machine: Host) -> None:
    machine.dump(ARCHIVE)
    machine.clock.forward(days=6)
    assert kind(machine.dump(ARCHIVE)) == DIFFERENTIAL
    machine.clock.forward(days=1)
    again = machine.dump(ARCHIVE)
    assert kind(again) == FULL
    assert writers(again) == {ids(machine)[-1]}


def test_user_forces_a_kind(machine: Host) -> None:
    machine.dump(ARCHIVE)
    assert kind(machine.dump(ARCHIVE, FULL)) == FULL
    assert kind(machine.dump(CHANGED, DIFFERENTIAL)) == DIFFERENTIAL
    assert kind(machine.dump(CHANGED)) == INCREMENTAL


def test_known_damage_is_stored_anew(machine: Host) -> None:
    machine.dump(ARCHIVE)
    second = machine.dump(CHANGED)
    damaged = frozenset(pack.key for pack in second.packs if keys.writer(pack.key) == ids(machine)[1])
    third = machine.dump(CHANGED, damaged=damaged)
    assert kind(third) == INCREMENTAL
    assert not damaged & {pack.key for pack in third.packs}
    assert machine.read(ids(machine)[2]) == CHANGED


def test_killed_run_changes_neither_map_nor_backups(machine: Host) -> None:
    machine.dump(ARCHIVE)
    before = machine.map.read_bytes()

    def blocks() -> Blocks:
        yield CHANGED[:400_000]
        raise Killed

    with pytest.raises(Killed):
        machine.dump(CHANGED, blocks=blocks)
    assert machine.map.read_bytes() == before
    made = machine.dump(CHANGED)
    assert [path.name for path in machine.map.parent.iterdir()] == ["default.map"]
    assert kind(made) == INCREMENTAL
    assert machine.read(ids(machine)[-1]) == CHANGED


def test_run_killed_before_the_map_is_replaced_costs_bytes_only(machine: Host) -> None:
    def kill() -> None:
        raise Killed

    machine.dump(ARCHIVE)
    with pytest.raises(Killed):
        machine.dump(CHANGED, before_map=kill)
    made = machine.dump(TWICE)
    assert kind(made) == INCREMENTAL
    assert writers(made) == set(ids(machine))
    assert [machine.read(backup_id) for backup_id in machine.made] == [ARCHIVE, CHANGED, TWICE]


def test_suspect_dump_does_not_replace_the_map(machine: Host) -> None:
    machine.dump(ARCHIVE)
    machine.dump(b"the wrong database", suspect=True)
    made = machine.dump(ARCHIVE)
    assert writers(made) == {ids(machine)[0]}


def test_table_that_was_emptied_and_loaded_again_is_not_stored_again(machine: Host) -> None:
    machine.dump(ARCHIVE)
    machine.dump(ARCHIVE[:100_000])
    made = machine.dump(ARCHIVE)
    assert writers(made) == {ids(machine)[0]}


def test_pruned_backups_leave_the_packs_that_others_need(machine: Host) -> None:
    machine.dump(ARCHIVE)
    machine.dump(CHANGED)
    first, second = ids(machine)
    machine.remove(first)
    assert machine.read(second) == CHANGED
    machine.clock.forward(days=1)
    assert kind(machine.dump(TWICE)) == DIFFERENTIAL
    assert machine.read(ids(machine)[-1]) == TWICE
    assert machine.complete() == [ids(machine)[-1], second]


def test_packs_of_removed_backups_are_swept(machine: Host) -> None:
    machine.dump(ARCHIVE)
    machine.dump(CHANGED, FULL)
    first, second = ids(machine)
    machine.remove(first)
    assert {keys.writer(key) for key in machine.packs()} == {second}
    assert machine.read(second) == CHANGED


def test_forged_index_is_refused(machine: Host) -> None:
    """A manifest that names another index than that of its dump."""
    machine.dump(ARCHIVE)
    part = machine.dump(CHANGED, FULL)
    first = machine.part(ids(machine)[0])
    forged = replace(part, object=first.object, packs=first.packs)
    with pytest.raises(IntegrityError, match="describes another dump than the manifest"):
        b"".join(open_dump(machine.context, forged, []))


@pytest.mark.parametrize("number", [1, 2])
def test_archives_are_stored_over_one_connection_each(
    context: BackupContext, settings: Any, tmp_path: Path, number: int
) -> None:
    """Many clients, such as that of SFTP, do not allow two threads to use one connection."""
    machine = Host(context)
    options = {"location": str(tmp_path / "storage")}
    backend = "tests.operations.storages.OneThreadOnly"
    settings.STORAGES = {**settings.STORAGES, "dbbackup": {"BACKEND": backend, "OPTIONS": options}}
    archives = [os.urandom(24 << 20) for _ in range(number)]
    with open_context() as found:
        machine.context = by_clock(replace(found, config=machine.context.config), machine.clock)
        machine.dump(archives[0], data=archives[1:])
        (backup_id,) = ids(machine)
        assert machine.read_all(backup_id) == archives
