"""Dumps that are full before their time, because the map or the last dump cannot be used."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from typing import Any

import pytest

from igny8_backup.chunks.chunk_map import open_map
from igny8_backup.chunks.cutter import compiled_version
from igny8_backup.chunks.map_writer import MapWriter
from igny8_backup.errors import ToolError
from igny8_backup.formats import keys
from igny8_backup.formats.chunked import DIFFERENTIAL, FULL, INCREMENTAL
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


def lose_map(machine: Host) -> None:
    machine.map.unlink()


def flip_bit(machine: Host) -> None:
    content = bytearray(machine.map.read_bytes())
    content[-100] ^= 1
    machine.map.write_bytes(content)


def lose_pack(machine: Host) -> None:
    machine.context.store.delete(machine.packs()[0])


def shorten_pack(machine: Host) -> None:
    machine.context.store.put_small(machine.packs()[0], b"short")


def lose_manifest(machine: Host) -> None:
    machine.context.store.delete(keys.manifest_key(ids(machine)[-1]))


def lose_list(machine: Host) -> None:
    (found,) = [item.key for item in machine.context.store.list("packs") if item.key.endswith(".json")]
    machine.context.store.delete(found)


def forge_list(machine: Host) -> None:
    """Change a list of packs, and name the changed list in the manifest."""
    store = machine.context.store
    (found,) = [item.key for item in store.list("packs") if item.key.endswith(".json")]
    written = store.read_small(found)
    forged = written.replace(b'"blocks": ""', b'"blocks":  ""')
    key = keys.manifest_key(ids(machine)[-1])
    manifest = store.read_small(key)
    for before, after in (
        (hashlib.sha256(written).hexdigest(), hashlib.sha256(forged).hexdigest()),
        (f'"stored_bytes": {len(written)}', f'"stored_bytes": {len(forged)}'),
    ):
        manifest = manifest.replace(before.encode(), after.encode())
    store.put_small(found, forged)
    store.put_small(key, manifest)


def replace_pack(machine: Host) -> None:
    store, key = machine.context.store, machine.packs()[0]
    store.put_small(key, bytes(store.size(key)))


def write_as_an_earlier_release(machine: Host) -> None:
    """Leave a map of schema 1, which knew no lists."""
    with MapWriter(machine.map.parent) as made:
        found = open_map(machine.map)
        assert found
        made.write(machine.map, replace(found.header, schema=1), found.entries())
        found.close()


def change_recipients(machine: Host) -> None:
    recipients = ("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",)
    codec = replace(machine.context.codec, recipients=recipients)
    machine.context = replace(machine.context, codec=codec)


def change_prefix(machine: Host) -> None:
    machine.context = replace(machine.context, config=replace(machine.context.config, prefix="other/"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lose_map, "this host has no map of its chunks"),
        (flip_bit, "the map of its chunks on this host is damaged"),
        (lose_pack, "of the last full dump is missing or damaged"),
        (shorten_pack, "of the last full dump is missing or damaged"),
        (replace_pack, "of the last full dump is missing or damaged"),
        (forge_list, "is not the one that this host wrote"),
        (write_as_an_earlier_release, "the map of its chunks does not know all packs of its last dump"),
        (lose_manifest, "storage no longer has the backup "),
        (lose_list, "a list of its packs is missing or damaged"),
        (change_recipients, "the recipients have changed"),
        (change_prefix, "the map of its chunks belongs to another storage"),
    ],
)
def test_dump_that_cannot_refer_to_the_last_one_is_full_and_says_why(
    machine: Host, change: Any, reason: str
) -> None:
    machine.dump(ARCHIVE)
    change(machine)
    if change is change_recipients:
        with pytest.raises(Exception, match="no identity is given"):
            machine.read(machine.dump(CHANGED).chunked.full_id)  # type: ignore[union-attr]  # it was written before
    else:
        made = machine.dump(CHANGED)
        assert kind(made) == FULL
        assert machine.read(ids(machine)[-1]) == CHANGED
    (note,) = machine.notes
    assert note.startswith("default: the dump is a full one, because ") and reason in note


def test_second_full_dump_before_its_time_is_reported(machine: Host) -> None:
    machine.dump(ARCHIVE)
    for expected in (0, 1):
        machine.clock.forward(days=1)
        lose_map(machine)
        made = machine.dump(CHANGED)
        assert made.chunked and made.chunked.reason == "this host has no map of its chunks"
        found = machine.context.shortfalls.take()
        assert [(item.part, item.step) for item in found] == [("default", "full dump")] * expected
    machine.clock.forward(days=7)
    assert machine.dump(CHANGED).chunked.reason == ""  # type: ignore[union-attr]  # it was written before
    lose_map(machine)
    machine.dump(CHANGED)
    assert machine.context.shortfalls.take() == (), "the others were more than a week ago"


def test_full_dump_that_fails_twice_is_put_off(machine: Host) -> None:
    def fail() -> Blocks:
        raise ToolError("pg_dump failed.")
        yield b""

    machine.dump(ARCHIVE)
    machine.clock.forward(days=7)
    for _ in range(2):
        with pytest.raises(ToolError):
            machine.dump(CHANGED, blocks=fail)
        machine.clock.forward(hours=1)
    assert kind(machine.dump(CHANGED)) == DIFFERENTIAL
    assert ["has failed 2 times" in item.text for item in machine.context.shortfalls.take()] == [True]
    machine.clock.forward(days=8)
    assert kind(machine.dump(CHANGED)) == FULL
    machine.clock.forward(days=7)
    with pytest.raises(ToolError):
        machine.dump(CHANGED, blocks=fail)
    assert kind(machine.dump(CHANGED)) == FULL, "a full dump that is complete ends the count"
    assert machine.context.shortfalls.take() == ()


def demand_full(machine: Host) -> str:
    return FULL


def wait_until_due(machine: Host) -> None:
    machine.clock.forward(days=7)


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("cause", [demand_full, wait_until_due, change_recipients, lose_map])
def test_full_dump_that_was_killed_is_tried_again_with_its_packs(machine: Host, cause: Any) -> None:
    machine.dump(ARCHIVE)
    forced = cause(machine) or ""

    def blocks() -> Blocks:
        yield CHANGED[:400_000]
        raise Killed

    with pytest.raises(Killed):
        machine.dump(CHANGED, forced, blocks=blocks)
    stored = [item.key for item in machine.context.store.list("packs")]
    left = {key for key in stored if keys.writer(key) == ids(machine)[-1]}
    machine.clock.forward(hours=1)
    machine.notes.clear()
    made = machine.dump(CHANGED)
    assert kind(made) == FULL
    assert left and left <= {pack.key for pack in made.packs}
    if cause in (demand_full, wait_until_due):
        assert made.chunked and made.chunked.reason == ""
        assert machine.notes == [
            "default: the dump is a full one, because an earlier run tried to make one, and ended early."
        ]
    machine.clock.forward(hours=1)
    assert kind(machine.dump(TWICE)) != FULL


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("of_earlier_release", [False, True])
def test_full_dump_that_was_put_off_uses_the_packs_of_its_failed_tries(
    machine: Host, of_earlier_release: bool
) -> None:
    """Earlier releases had one log for dumps of all kinds."""
    folder, other = machine.map.parent, noise(400_000, seed=2)
    machine.dump(ARCHIVE)
    before = set(machine.packs())
    machine.clock.forward(days=7)

    def dump_and_die(archive: bytes) -> None:
        def blocks() -> Blocks:
            yield archive
            raise Killed

        with pytest.raises(Killed):
            machine.dump(archive, blocks=blocks)
        machine.clock.forward(hours=1)

    for size in (200_000, 400_000):
        dump_and_die(other[:size])
    left = set(machine.packs()) - before
    if of_earlier_release:
        (folder / "default.full-try").rename(folder / "default.try")
    dump_and_die(TWICE)
    assert kind(machine.dump(TWICE)) == DIFFERENTIAL
    made = machine.dump(other, FULL)
    assert left and left <= {pack.key for pack in made.packs}
    assert machine.read(ids(machine)[-1]) == other
    assert [path.name for path in folder.iterdir()] == ["default.map"]


@pytest.mark.usefixtures("small_packs")
def test_first_dump_that_was_killed_is_no_sign_of_a_lost_map(machine: Host) -> None:
    def blocks() -> Blocks:
        yield ARCHIVE
        raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            machine.dump(ARCHIVE, blocks=blocks)
    assert machine.packs()
    made = machine.dump(ARCHIVE)
    assert made.chunked and (made.chunked.kind, made.chunked.reason) == (FULL, "")


def test_demanded_full_dump_that_fails_twice_is_put_off_until_one_is_due(machine: Host) -> None:
    def fail() -> Blocks:
        raise ToolError("pg_dump failed.")
        yield b""

    machine.dump(ARCHIVE)
    for demanded in (FULL, ""):
        with pytest.raises(ToolError):
            machine.dump(CHANGED, demanded, blocks=fail)
    assert kind(machine.dump(CHANGED)) == INCREMENTAL
    assert ["has failed 2 times" in item.text for item in machine.context.shortfalls.take()] == [True]
    machine.clock.forward(days=7)
    assert kind(machine.dump(CHANGED)) == FULL
    machine.clock.forward(hours=1)
    assert kind(machine.dump(CHANGED)) == INCREMENTAL
    assert machine.context.shortfalls.take() == ()


def test_map_of_an_older_state_of_the_storage_costs_bytes_only(machine: Host) -> None:
    """The storage was rolled back to the state before the last dump."""
    machine.dump(ARCHIVE)
    folder = machine.folder
    saved = folder.with_name("saved")
    shutil.copytree(folder, saved)
    machine.dump(CHANGED)
    shutil.rmtree(folder)
    saved.rename(folder)
    made = machine.dump(TWICE)
    assert kind(made) == FULL
    assert machine.read(ids(machine)[-1]) == TWICE
