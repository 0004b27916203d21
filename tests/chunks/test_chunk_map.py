"""The map of chunks: what was written is found, and a damaged file is refused."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igny8_backup.chunks import map_writer
from igny8_backup.chunks.chunk_map import ENTRY_BYTES, PLACE, ChunkMap, MapHeader, MapPack, open_map
from igny8_backup.chunks.cutter import CutterIdentity
from igny8_backup.chunks.locations import Location
from igny8_backup.chunks.map_writer import MapWriter
from igny8_backup.errors import IntegrityError
from igny8_backup.formats.objects import ListReference

CUTTER = CutterIdentity(
    name="pyfastcdc", version="0.3.1", average=8192, smallest=2048, largest=65536, normalization=1
)
PACKS = tuple(
    MapPack(
        key=f"pack-{number}",
        stored_bytes=5,
        raw_bytes=1000,
        sha256="0" * 64,
        listed_in=0,
        of_full=True,
        written="1",
    )
    for number in range(3)
)
HEADER = MapHeader(
    schema=3,
    storage="file:///backups",
    prefix="igny8/",
    host="web-1",
    alias="default",
    recipients=("age1x",),
    cutter=CUTTER,
    key="ab" * 32,
    seed=7,
    backup_id="20261122T021500Z-7f3a9c",
    started=datetime(2026, 11, 22, 2, 15, tzinfo=UTC),
    full_id="20261122T021500Z-7f3a9c",
    lists=(ListReference(key="list", stored_bytes=5, sha256="0" * 64),),
    packs=PACKS,
    placement=(("public.large", "public.log"),),
)

Entries = dict[bytes, tuple[int, int, int]]
entries = st.dictionaries(
    st.binary(min_size=16, max_size=16),
    st.tuples(st.integers(0, 2), st.integers(0, 900), st.integers(1, 100)),
    max_size=60,
)


def digest(number: int) -> bytes:
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest()


def write(
    folder: Path, found: Entries, *, earlier: list[bytes] | None = None, preferred: Collection[int] = ()
) -> Path:
    path = folder / "default.map"
    with MapWriter(folder) as writer:
        for key, place in found.items():
            writer.add(key, *place)
        writer.write(path, HEADER, earlier or [], preferred)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=entries, others=st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_lookup_finds_exactly_the_entries(tmp_path: Path, found: Entries, others: list[bytes]) -> None:
    with opened(write(tmp_path, found)) as chunk_map:
        assert chunk_map.header == HEADER
        assert len(chunk_map) == len(found)
        asked = [*found, *others]
        expected = [
            Location(f"pack-{found[key][0]}", *found[key][1:]) if key in found else None for key in asked
        ]
        assert chunk_map.lookup(asked) == expected
        assert list(chunk_map.entries()) == sorted(key + PLACE.pack(*place) for key, place in found.items())


def opened(path: Path) -> ChunkMap:
    found = open_map(path)
    assert found is not None
    return found


def test_many_entries_are_merged_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_writer, "SORTED_AT_ONCE", 100)
    found = {digest(number): (number % 3, number % 900, 1 + number % 100) for number in range(1050)}
    with opened(write(tmp_path, found)) as chunk_map:
        assert len(chunk_map) == 1050
        assert None not in chunk_map.lookup(list(found))
        listed = list(chunk_map.entries())
        assert listed == sorted(listed)


def test_digest_across_two_entries_is_not_found(tmp_path: Path) -> None:
    """The bytes of two neighbours can look like a digest."""
    first, second = b"\1\1" + bytes(14), b"\1\1" + b"\7" * 14
    with opened(write(tmp_path, {first: (0, 1, 1), second: (0, 2, 1)})) as chunk_map:
        data = b"".join(chunk_map.entries())
        between = [data[at : at + 16] for at in range(1, ENTRY_BYTES)]
        assert chunk_map.lookup(between) == [None] * len(between)


def test_chunk_in_two_packs_counts_as_that_of_the_preferred_pack(tmp_path: Path) -> None:
    earlier = [digest(1) + PLACE.pack(2, 5, 5)]
    with opened(write(tmp_path, {digest(1): (0, 1, 5)}, earlier=earlier, preferred={2})) as chunk_map:
        assert chunk_map.lookup([digest(1)]) == [Location("pack-2", 5, 5)]
        assert len(chunk_map) == 1


def test_map_is_private_and_replaces_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, {digest(1): (0, 1, 5)})
    path = write(tmp_path, {digest(2): (0, 1, 5)})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["default.map"]
    with opened(path) as chunk_map:
        assert chunk_map.lookup([digest(1), digest(2)]) == [None, Location("pack-0", 1, 5)]


def test_failed_write_leaves_the_old_map(tmp_path: Path) -> None:
    path = write(tmp_path, {digest(1): (0, 1, 5)})
    before = path.read_bytes()

    def failing() -> Iterator[bytes]:
        raise OSError("the disk is full")
        yield b""

    with pytest.raises(OSError, match="full"), MapWriter(tmp_path) as writer:
        writer.write(path, HEADER, failing())
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["default.map"]


def test_entry_outside_its_pack_is_not_used(tmp_path: Path) -> None:
    found = {digest(1): (7, 0, 5), digest(2): (0, 990, 11), digest(3): (0, 990, 10)}
    with opened(write(tmp_path, found)) as chunk_map:
        assert chunk_map.lookup([digest(1), digest(2), digest(3)]) == [
            None,
            None,
            Location("pack-0", 990, 10),
        ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_map_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = write(tmp_path, {digest(number): (0, number, 5) for number in range(50)})
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), at]))])
    with pytest.raises(IntegrityError, match="map of chunks"):
        open_map(path)


def test_map_with_a_wrong_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "default.map"
    with MapWriter(tmp_path) as writer:
        writer.write(path, replace(HEADER, key="ab"))
    with pytest.raises(IntegrityError, match="key or seed"):
        open_map(path)


def test_missing_map_is_none(tmp_path: Path) -> None:
    assert open_map(tmp_path / "default.map") is None
