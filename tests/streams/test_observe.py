from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Blocks
from igny8_backup.streams.observe import (
    BlockDigests,
    Digest,
    checked_by_block,
    checked_in_two_passes,
    count,
    verified,
)
from tests.streams.conftest import Source

HELLO = hashlib.sha256(b"hello").hexdigest()


def test_digest_has_size_and_hash_of_the_stream(source: type[Source]) -> None:
    digest = Digest()
    assert list(digest.watch(source(b"he", b"llo").stream())) == [b"he", b"llo"]
    assert (digest.size, digest.sha256) == (5, HELLO)


def test_digest_of_nothing_is_that_of_empty_input() -> None:
    assert (Digest().size, Digest().sha256) == (0, hashlib.sha256().hexdigest())


@pytest.mark.parametrize("expected", [HELLO, HELLO.upper()])
def test_verified_matching_stream_passes(source: type[Source], expected: str) -> None:
    stream = verified(source(b"he", b"llo").stream(), sha256=expected, size=5, name="key")
    assert list(stream) == [b"he", b"llo"]


def test_verified_empty_stream_passes(source: type[Source]) -> None:
    empty = hashlib.sha256().hexdigest()
    assert list(verified(source().stream(), sha256=empty, size=0, name="key")) == []


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([b"he", b"ll"], "db/x is shorter than the 5 bytes that were written: it ends after 4"),
        ([], "db/x is shorter than the 5 bytes that were written: it ends after 0"),
        ([b"he", b"llo", b"!"], "db/x is longer than the 5 bytes"),
        ([b"he", b"llO"], "db/x was altered: its SHA-256 is"),
    ],
)
def test_verified_other_stream_raises_integrity_error(
    source: type[Source], blocks: list[bytes], message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        list(verified(source(*blocks).stream(), sha256=HELLO, size=5, name="db/x"))


def test_verified_surplus_bytes_are_not_yielded(source: type[Source]) -> None:
    stream = verified(source(b"hello", b"!", b"more").stream(), sha256=HELLO, size=5, name="key")
    assert next(stream) == b"hello"
    with pytest.raises(IntegrityError):
        next(stream)


def test_count_reports_each_block_as_it_passes(source: type[Source]) -> None:
    passed: list[int] = []
    stream = count(source(b"he", b"llo").stream(), passed.append)
    next(stream)
    assert passed == [2]
    next(stream)
    assert passed == [2, 3]
    assert list(stream) == []


@pytest.mark.parametrize(
    "stage",
    [
        Digest().watch,
        lambda blocks: verified(blocks, sha256=HELLO, size=9, name="key"),
        lambda blocks: count(blocks, lambda size: None),
    ],
)
def test_observers_close_their_source(source: type[Source], stage: Callable[[Blocks], Blocks]) -> None:
    blocks = source(b"he", b"llo")
    stream = stage(blocks.stream())
    next(stream)
    stream.close()
    assert blocks.closed


def test_digest_with_failing_source_raises(source: type[Source]) -> None:
    broken = ConnectionResetError("gone")
    digest = Digest()
    with pytest.raises(ConnectionResetError):
        list(digest.watch(source(b"he", error=broken).stream()))


SIZES = st.lists(st.integers(0, 3), max_size=12)


def in_chunks(content: bytes, lengths: list[int]) -> Blocks:
    """Yield ``content`` in chunks of these lengths, and the rest in one."""
    start = 0
    for length in (*lengths, len(content)):
        yield content[start : start + length]
        start = min(start + length, len(content))


def digests_of(content: bytes, block_bytes: int) -> bytes:
    starts = range(0, len(content), block_bytes)
    return b"".join(hashlib.sha256(content[start : start + block_bytes]).digest() for start in starts)


@given(st.binary(max_size=30), SIZES, st.integers(1, 5))
def test_block_digests_do_not_depend_on_how_the_stream_is_cut(
    content: bytes, lengths: list[int], block_bytes: int
) -> None:
    digest = BlockDigests(block_bytes)
    assert b"".join(digest.watch(in_chunks(content, lengths))) == content
    assert digest.blocks == digests_of(content, block_bytes)
    assert (digest.size, digest.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@given(st.binary(max_size=30), SIZES, st.integers(1, 5))
def test_checked_by_block_yields_the_same_bytes(content: bytes, lengths: list[int], block_bytes: int) -> None:
    digests = digests_of(content, block_bytes)
    stream = checked_by_block(
        in_chunks(content, lengths), digests, block_bytes=block_bytes, size=len(content), name="key"
    )
    assert b"".join(stream) == content


@given(st.binary(min_size=1, max_size=30), st.binary(max_size=30), SIZES, st.integers(1, 5))
def test_checked_by_block_yields_nothing_of_a_block_that_was_altered(
    content: bytes, other: bytes, lengths: list[int], block_bytes: int
) -> None:
    digests, passed = digests_of(content, block_bytes), bytearray()
    stream = checked_by_block(
        in_chunks(other, lengths), digests, block_bytes=block_bytes, size=len(content), name="key"
    )
    if other == content:
        return
    with pytest.raises(IntegrityError, match="^key "):
        for block in stream:
            passed += block
    assert content.startswith(bytes(passed))


@given(SIZES, SIZES)
def test_checked_in_two_passes_yields_the_same_bytes(first: list[int], second: list[int]) -> None:
    """However the storage cuts the stream into blocks, each time in another way."""
    content = bytes(range(256))[: min(sum(first), sum(second))]
    reads = iter([first, second])
    blocks = checked_in_two_passes(
        lambda: in_chunks(content, next(reads)),
        sha256=hashlib.sha256(content).hexdigest(),
        block_bytes=4,
        size=len(content),
        name="key",
    )
    assert b"".join(blocks) == content


@pytest.mark.parametrize("second", [b"aaaabbbx", b"aaaa", b"aaaabbbbcccc", b"", b"aaaabbb"])
def test_checked_in_two_passes_other_bytes_the_second_time_never_pass(second: bytes) -> None:
    first, passed = b"aaaabbbb", bytearray()
    reads = iter([first, second])
    blocks = checked_in_two_passes(
        lambda: in_chunks(next(reads), []),
        sha256=hashlib.sha256(first).hexdigest(),
        block_bytes=4,
        size=8,
        name="key",
    )
    with pytest.raises(IntegrityError, match="while it was read"):
        for block in blocks:
            passed += block
    assert first.startswith(bytes(passed))


def test_checked_in_two_passes_altered_stream_yields_nothing(source: type[Source]) -> None:
    blocks = checked_in_two_passes(source(b"hellO").stream, sha256=HELLO, block_bytes=2, size=5, name="key")
    with pytest.raises(IntegrityError, match="was altered"):
        next(blocks)
