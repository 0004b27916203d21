from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.pipeline import from_bytes
from igny8_backup.streams.zstd import JOB, compress, compress_at_once, decompress
from tests.streams.conftest import Program, Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_BLOCK = 128 << 10
SIZES = sorted(
    {0, 1, *(n + d for n in (65536, ZSTD_BLOCK, BLOCK, 2 * BLOCK, JOB, 9 << 20) for d in (-1, 0, 1))}
)


def made_of(kind: str, size: int) -> bytes:
    if kind == "random":
        return random.Random(size).randbytes(size)
    return (b"INSERT INTO content VALUES (%d);" * (size // 32 + 1))[:size]


def all_of(stream: Iterable[bytes]) -> bytes:
    return b"".join(stream)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["random", "text"])
@pytest.mark.parametrize("size", SIZES)
def test_compress_then_decompress_returns_the_content(size: int, kind: str, workers: int) -> None:
    content = made_of(kind, size)
    packed = list(compress(from_bytes(content), workers=workers))
    assert all(0 < len(block) <= BLOCK for block in packed)
    unpacked = list(decompress(iter_of(packed)))
    assert all(0 < len(block) <= BLOCK for block in unpacked)
    assert b"".join(unpacked) == content


@pytest.mark.parametrize("level", [1, 2, 3, 4, 19])
@pytest.mark.parametrize("kind", ["random", "text"])
@pytest.mark.parametrize("size", SIZES)
def test_compress_at_once_is_undone_by_decompress(size: int, kind: str, level: int) -> None:
    content = made_of(kind, size)
    packed = list(compress_at_once(memoryview(content), level=level))
    assert all(0 < len(block) <= BLOCK for block in packed)
    assert all_of(decompress(iter_of(packed))) == content
    assert packed[0][4] & 0b100  # a checksum (RFC 8878, 3.1.1.1.1)


def test_level_3_does_not_look_for_repetitions_of_5_bytes() -> None:
    """Digests in hexadecimal digits contain many, by chance, which do not make the result smaller."""
    content = random.Random(5).randbytes(BLOCK).hex().encode()
    plain = zstd.compress(content, 3)
    assert len(all_of(compress(from_bytes(content), level=3, workers=0))) < len(plain)
    assert len(all_of(compress_at_once(content, level=3))) < len(plain)


def iter_of(blocks: Iterable[bytes]) -> Blocks:
    yield from blocks


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 50))
@settings(deadline=None, max_examples=100)
def test_decompress_accepts_blocks_of_any_size(blocks: list[bytes], cut: int) -> None:
    packed = all_of(compress(iter_of(blocks), workers=0))
    pieces = (packed[i : i + cut] for i in range(0, len(packed), cut))
    assert all_of(decompress(iter_of(pieces))) == b"".join(blocks)


def test_compress_output_opens_with_zstd(installed: Program) -> None:
    content = made_of("text", 3 * BLOCK) + made_of("random", BLOCK)
    packed = all_of(compress(from_bytes(content)))
    assert subprocess.run([installed("zstd"), "-dc"], input=packed, stdout=-1, check=True).stdout == content
    empty = all_of(compress(from_bytes(b"")))
    assert subprocess.run([installed("zstd"), "-dc"], input=empty, stdout=-1, check=True).stdout == b""


@pytest.mark.parametrize("options", [["-1"], ["-19", "--no-check"], ["-T2", "--long=27"]])
def test_decompress_opens_output_of_zstd(installed: Program, options: list[str]) -> None:
    content = made_of("text", 3 * BLOCK) + made_of("random", BLOCK)
    packed = subprocess.run([installed("zstd"), "-c", *options], input=content, stdout=-1, check=True).stdout
    assert all_of(decompress(from_bytes(packed))) == content


def test_compress_writes_a_checksum_even_of_nothing() -> None:
    """Frame_Header_Descriptor, bit 2 (RFC 8878, 3.1.1.1.1)."""
    for content in (b"", b"x", made_of("random", 3 * BLOCK)):
        frame = all_of(compress(from_bytes(content)))
        assert frame[:4] == b"\x28\xb5\x2f\xfd"
        assert frame[4] & 0b100


def test_compress_at_higher_level_is_smaller() -> None:
    content = Path(subprocess.__file__).read_bytes()
    sizes = [len(all_of(compress(from_bytes(content), level=level))) for level in (1, 12)]
    assert sizes[1] < sizes[0]


def test_decompress_several_frames_returns_all_content() -> None:
    frames = [all_of(compress(from_bytes(part))) for part in (b"one", b"", b"two" * BLOCK, b"three")]
    together = b"one" + b"two" * BLOCK + b"three"
    assert all_of(decompress(from_bytes(b"".join(frames)))) == together
    assert all_of(decompress(iter_of(frames))) == together


def test_decompress_truncated_anywhere_raises() -> None:
    packed = all_of(compress(from_bytes(made_of("random", 1000))))
    for length in range(len(packed)):
        with pytest.raises(IntegrityError, match="incomplete"):
            all_of(decompress(from_bytes(packed[:length])))


def test_decompress_long_stream_truncated_raises_after_its_content() -> None:
    packed = all_of(compress(from_bytes(made_of("random", 3 * BLOCK))))
    for length in (4, 100, BLOCK, 2 * BLOCK + 5, len(packed) - 4, len(packed) - 1):
        with pytest.raises(IntegrityError):
            all_of(decompress(from_bytes(packed[:length])))


def test_decompress_flipped_bit_never_changes_content() -> None:
    """A few bits of the frame header mean nothing to the content; those may pass."""
    content = made_of("text", 300) + made_of("random", 100)
    packed = all_of(compress(from_bytes(content)))
    found = 0
    for bit in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert all_of(decompress(from_bytes(bytes(damaged)))) == content
        except IntegrityError:
            found += 1
    assert found > len(packed) * 8 * 0.95


def test_decompress_long_stream_with_flipped_bit_raises() -> None:
    packed = all_of(compress(from_bytes(made_of("random", 2 * BLOCK))))
    for place in range(50, len(packed), len(packed) // 20):
        damaged = bytearray(packed)
        damaged[place] ^= 0x10
        with pytest.raises(IntegrityError):
            all_of(decompress(from_bytes(bytes(damaged))))


@pytest.mark.parametrize("tail", [b"x", b"garbage", bytes(100)])
def test_decompress_trailing_bytes_raises(tail: bytes) -> None:
    packed = all_of(compress(from_bytes(b"content")))
    with pytest.raises(IntegrityError):
        all_of(decompress(from_bytes(packed + tail)))
    with pytest.raises(IntegrityError):
        all_of(decompress(iter_of([packed, tail])))


def test_decompress_bomb_yields_bounded_blocks() -> None:
    size = 256 << 20

    def zeros() -> Blocks:
        for _ in range(size // BLOCK):
            yield bytes(BLOCK)

    bomb = all_of(compress(zeros()))
    assert len(bomb) < size // 5000
    tracemalloc.start()
    try:
        given_size = 0
        for block in decompress(from_bytes(bomb)):
            assert len(block) <= BLOCK
            given_size += len(block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert given_size == size
    assert peak < 8 << 20


def test_close_early_closes_source_and_ends_workers(source: type[Source]) -> None:
    before = len(os.listdir("/proc/self/task"))
    blocks = source(*[made_of("random", BLOCK)] * 30)
    stream = compress(blocks.stream(), workers=2)
    next(stream)
    assert len(os.listdir("/proc/self/task")) > before
    stream.close()
    assert blocks.closed
    while len(os.listdir("/proc/self/task")) > before:
        time.sleep(0.01)  # joined threads leave /proc a little later

    packed = source(all_of(compress(from_bytes(bytes(3 * BLOCK)))))
    stream = decompress(packed.stream())
    next(stream)
    stream.close()
    assert packed.closed


def test_compress_failing_source_leaves_incomplete_frame(source: type[Source]) -> None:
    broken = ConnectionResetError("gone")
    given_blocks = []
    with pytest.raises(ConnectionResetError) as caught:
        for block in compress(source(made_of("random", BLOCK), error=broken).stream()):
            given_blocks.append(block)
    assert caught.value is broken
    with pytest.raises(IntegrityError):
        all_of(decompress(iter_of(given_blocks)))
    packed = all_of(compress(from_bytes(b"content")))
    with pytest.raises(ConnectionResetError):
        all_of(decompress(source(packed, error=broken).stream()))


def test_compress_invalid_level_closes_the_source(source: type[Source]) -> None:
    blocks = source(b"x")
    stream = blocks.stream()
    next(stream)
    with pytest.raises(ValueError):
        next(compress(stream, level=99))
    assert blocks.closed


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_compress_incompressible_input_takes_less_than_48_mib() -> None:
    program = """
import random
from igny8_backup.streams import BLOCK, Blocks
from igny8_backup.streams.zstd import compress

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024

blocks = [random.Random(number).randbytes(BLOCK) for number in range(4)]
before = peak()
assert sum(map(len, compress(blocks[number % 4] for number in range(150)))) > 150 * BLOCK
print(peak() - before)
"""
    # The generator expression has a close(), like every stream.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 48
