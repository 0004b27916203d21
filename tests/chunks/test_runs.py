"""The index of an archive: what was written is read, and malformed or malicious indexes are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.chunks.cutter import CutterIdentity
from igny8_backup.chunks.locations import PACK_BYTES, Location
from igny8_backup.chunks.runs import SCHEMA, Index, IndexHeader, Runs, read_index, to_blocks
from igny8_backup.errors import IntegrityError
from tests.chunks.archives import in_blocks

CUTTER = CutterIdentity(
    name="pyfastcdc", version="0.3.1", average=8192, smallest=2048, largest=65536, normalization=1
)
SIZES = {"pack-0": 1000, "pack-1": 500}
KEY = "backups/20261122T021500Z-7f3a9c/db/default.runs.zst.age"


def index_of(found: list[tuple[int, int, int]], **changes: Any) -> Index:
    runs = Runs()
    for run in found:
        runs.add(*run)
    header = {
        "schema": SCHEMA,
        "bytes": sum(length for _, _, length in found),
        "sha256": "a" * 64,
        "cutter": CUTTER,
        "packs": ("pack-0", "pack-1"),
        "runs": len(found),
    }
    return Index(IndexHeader(**{**header, **changes}), runs)


def stored(index: Index) -> bytes:
    return b"".join(to_blocks(index))


@given(
    runs=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 400), st.integers(1, 100)), max_size=30),
    sizes=st.lists(st.integers(1, 50), max_size=30),
)
def test_index_survives_storage(runs: list[tuple[int, int, int]], sizes: list[int]) -> None:
    index = index_of(runs)
    found = read_index(in_blocks(stored(index), sizes), KEY, SIZES)
    assert found.header == index.header
    assert list(found.runs) == runs
    assert list(found.locations()) == [Location(f"pack-{pack}", *rest) for pack, *rest in runs]


def test_index_is_one_json_value_a_line() -> None:
    header, *lines = stored(index_of([(0, 0, 1000), (1, 5, 10)])).splitlines()
    assert json.loads(header)["packs"] == ["pack-0", "pack-1"]
    assert list(map(json.loads, lines)) == [[0, 0, 1000], [1, 5, 10]]


def test_neighbours_become_one_run() -> None:
    runs = Runs()
    for run in [(0, 0, 5), (0, 5, 5), (0, 11, 1), (1, 12, 1)]:
        runs.append(*run)
    assert list(runs) == [(0, 0, 10), (0, 11, 1), (1, 12, 1)]


@pytest.mark.parametrize(
    "run",
    [(2, 0, 1), (0, 1000, 1), (0, 990, 11), (1, 0, 501), (0, 0, 0)],
    ids=["unknown pack", "after the end", "beyond the end", "longer than the pack", "empty"],
)
def test_run_outside_its_pack_is_refused(run: tuple[int, int, int]) -> None:
    with pytest.raises(IntegrityError, match="no range of one of its packs"):
        read_index(in_blocks(stored(index_of([(0, 0, 10), run])), []), KEY, SIZES)


def test_pack_larger_than_any_that_is_written_is_read_up_to_the_limit_only() -> None:
    runs = [(0, PACK_BYTES, 1)]
    with pytest.raises(IntegrityError, match="no range of one of its packs"):
        read_index(in_blocks(stored(index_of(runs)), []), KEY, {**SIZES, "pack-0": PACK_BYTES * 2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packs": ("pack-0", "pack-9")}, "needs the pack 'pack-9', which the manifest does not name"),
        ({"schema": 2}, "has schema 2"),
        ({"framing": "rows"}, "the framing 'rows', which this release does not know"),
        ({"bytes": 11}, "of 10 bytes, unlike its header, which says 1 of 11"),
        ({"runs": 2}, "has 1 runs"),
        ({"runs": 0}, "has 1 runs"),
        ({"runs": -1}, "impossible numbers"),
        ({"runs": 1 << 40}, "impossible numbers"),
        ({"sha256": "z" * 64}, "impossible numbers"),
    ],
)
def test_wrong_header_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read_index(in_blocks(stored(index_of([(0, 0, 10)], **changes)), []), KEY, SIZES)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"[0,0,1]",
        lambda data: data + b"[0,0,1] \n",
        lambda data: data + b"[0,0," + b"1" * 100_000 + b"]\n",
        lambda data: data + b"\xff\n",
        lambda data: data[5:],
        lambda data: b"x" * 100_000,
    ],
    ids=["empty", "cut off", "no end", "space", "long", "binary", "no start", "one line"],
)
def test_malformed_index_is_refused(change: Any) -> None:
    data = change(stored(index_of([(0, 0, 10)])))
    with pytest.raises(IntegrityError):
        read_index(in_blocks(data, []), KEY, SIZES)
