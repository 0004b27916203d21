"""The cutter: pinned cuts, the same cuts however the stream arrives, and small changes that stay small."""

from __future__ import annotations

import hashlib
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.chunks import cutter
from igny8_backup.chunks.cutter import AVERAGE, FEW, LARGEST_AVERAGE, MANY, suitable_average
from igny8_backup.chunks.locations import PACK_BYTES
from tests.chunks.archives import SEED, cut, noise

pytestmark = pytest.mark.usefixtures("compiled")

TEXT = b"".join(b"%d\tJane Doe %d\tjane%d@example.com\n" % (n, n, n * n) for n in range(4000))
ZEROS = bytes(300_000)


def hashed(size: int) -> bytes:
    """Return bytes that no change of Python's random numbers can change."""
    return b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(size // 32))


@pytest.mark.parametrize(
    ("data", "seed", "ends"),
    [
        (
            hashed(100_000),
            0,
            [6296, 10014, 22914, 30820, 45972, 48910, 58562, 63542, 77645, 81132, 93453, 100000],
        ),
        (hashed(100_000), SEED, [13238, 27966, 39454, 52365, 56054, 64795, 88551, 97371, 100000]),
        (
            TEXT,
            SEED,
            [
                8314,
                10911,
                20155,
                22979,
                26210,
                36249,
                45318,
                51739,
                56020,
                69165,
                79515,
                90511,
                105562,
                116801,
                120239,
                135963,
                146568,
                157580,
                163920,
                169154,
            ],
        ),
        (ZEROS, SEED, [65536, 131072, 196608, 262144, 300000]),
    ],
    ids=["default seed", "seed", "text", "zeros"],
)
def test_cuts_are_pinned(data: bytes, seed: int, ends: list[int]) -> None:
    assert [*accumulate(map(len, cut(data, seed=seed)))] == ends


def test_other_cutter_is_refused() -> None:
    found = cutter.identity()
    other = type(found)(**{**vars(found), "version": "0.0.0"})
    with pytest.raises(RuntimeError, match="is not installed"):
        cutter.Cutter(other, SEED)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(0, 400_000), sizes=st.lists(st.integers(1, 100_000), max_size=20))
def test_cuts_do_not_depend_on_the_blocks_of_the_stream(size: int, sizes: list[int]) -> None:
    data = noise(size)
    whole = cut(data)
    assert cut(data, sizes) == whole
    assert b"".join(whole) == data
    assert all(AVERAGE // 4 <= len(chunk) <= AVERAGE * 8 for chunk in whole[:-1])


@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, 500_000), new=st.binary(max_size=50), removed=st.integers(0, 50))
def test_small_edit_changes_few_chunks(at: int, new: bytes, removed: int) -> None:
    data = noise(500_000, seed=7)
    edited = data[:at] + new + data[at + removed :]
    assert len(set(cut(edited)) - set(cut(data))) <= 6


def test_secret_seed_changes_the_cuts() -> None:
    data = noise(400_000)
    assert set(map(len, cut(data, seed=1))) != set(map(len, cut(data, seed=2)))


@given(st.integers(0, 1 << 45), st.sampled_from([AVERAGE << n for n in range(8)]))
def test_suitable_average_is_stable(archive_bytes: int, previous: int) -> None:
    average = suitable_average(archive_bytes, previous)
    assert suitable_average(archive_bytes, average) == average
    assert archive_bytes <= MANY * average or average == LARGEST_AVERAGE
    assert archive_bytes >= FEW * average or average == AVERAGE


def test_largest_chunk_fits_into_a_pack() -> None:
    assert cutter.identity(LARGEST_AVERAGE).largest <= PACK_BYTES
