"""Dumps in chunks whose packs change before the manifest, and what a killed run leaves to the next one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from igny8_backup.catalog.annotations import write_marks
from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.errors import FilesError, StorageError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL
from igny8_backup.formats.documents.annotations import Mark
from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.context import BackupContext
from igny8_backup.streams import Blocks
from tests.chunks.archives import noise
from tests.operations.backup.chunked.dumping import Host, Killed

pytestmark = pytest.mark.skipif(not compiled_version(), reason="pyfastcdc is not installed")

ARCHIVE = noise(600_000)
CHANGED = ARCHIVE[:300_000] + b"one row more" + ARCHIVE[300_000:]
TWICE = CHANGED[:100_000] + b"another row" + CHANGED[100_000:]


@pytest.fixture
def machine(context: BackupContext) -> Host:
    return Host(context)


def kind(part: DatabasePart) -> str:
    assert part.chunked
    return part.chunked.kind


def ids(machine: Host) -> list[str]:
    return list(machine.made)


def remove(machine: Host, key: str) -> None:
    machine.context.store.delete(key)


def replace_by_same_length(machine: Host, key: str) -> None:
    store = machine.context.store
    store.put_small(key, bytes(store.size(key)))


@pytest.mark.parametrize("change", [remove, replace_by_same_length])
@pytest.mark.parametrize("moment", ["between the chunks", "before the manifest"])
def test_pack_that_changes_before_the_manifest_is_not_needed(
    machine: Host, change: Callable[[Host, str], None], moment: str
) -> None:
    machine.dump(ARCHIVE)
    packs = machine.packs()

    def harm() -> None:
        if packs:
            change(machine, packs.pop())

    def blocks() -> Blocks:
        yield CHANGED[:200_000]
        if moment == "between the chunks":
            harm()
        yield CHANGED[200_000:]

    made = machine.dump(CHANGED, blocks=blocks, before_check=harm)
    assert "is dumped again, without this object" in machine.notes[0]
    assert kind(made) == FULL
    assert machine.read(ids(machine)[1]) == CHANGED


def test_new_inodes_of_packs_are_no_change(machine: Host) -> None:
    """As on a network share: they change with each mount, and while a backup runs."""

    def move() -> None:
        for key in machine.packs():
            (path,) = machine.folder.rglob(key.rpartition("/")[2])
            copy = shutil.copy2(path, path.with_suffix(".copy"))
            os.replace(copy, path)

    machine.dump(ARCHIVE)
    move()
    assert kind(machine.dump(CHANGED, before_check=move)) == INCREMENTAL
    assert machine.notes == []


def test_packs_that_change_twice_fail_the_part(machine: Host) -> None:
    with pytest.raises(StorageError, match="disappeared from storage or was replaced"):
        machine.dump(ARCHIVE, before_check=lambda: remove(machine, machine.packs()[-1]))
    assert machine.context.catalog.entries() == []


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("first", [FULL, INCREMENTAL])
def test_packs_of_a_killed_run_are_used_by_the_next(machine: Host, first: str) -> None:
    if first == INCREMENTAL:
        machine.dump(noise(1000))
    for reached in (300_000, 450_000):

        def blocks(reached: int = reached) -> Blocks:
            yield CHANGED[:reached]
            raise Killed

        with pytest.raises(Killed):
            machine.dump(CHANGED, blocks=blocks)
    left = [key for key in machine.packs() if keys.writer(key) in ids(machine)[-2:]]
    write_marks(machine.context.store, (Mark(key=left[-1], since=machine.clock()),))
    made = machine.dump(CHANGED)
    assert kind(made) == first
    needed = {pack.key for pack in made.packs}
    assert set(left[:-1]) <= needed and left[-1] not in needed, "a pack that a sweep has marked is not used"
    machine.sweep()
    again = machine.dump(TWICE)
    assert kind(again) == INCREMENTAL
    assert {pack.key for pack in again.packs} & set(left[:-1])
    machine.clock.forward(days=1)
    differential = machine.dump(TWICE)
    assert kind(differential) == DIFFERENTIAL
    assert bool({pack.key for pack in differential.packs} & set(left)) == (first == FULL)
    assert [machine.read(backup_id) for backup_id in ids(machine)[-3:]] == [CHANGED, TWICE, TWICE]


def test_folder_of_maps_that_cannot_be_written_fails_the_part(machine: Host) -> None:
    def blocks() -> Blocks:
        yield ARCHIVE
        raise Killed

    with pytest.raises(Killed):
        machine.dump(ARCHIVE, blocks=blocks)
    machine.map.with_suffix(".tried").mkdir()
    with pytest.raises(FilesError, match="maps of chunks in .* cannot be written"):
        machine.dump(ARCHIVE)
