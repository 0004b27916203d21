from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Blocks
from igny8_backup.streams.observe import Digest, count, verified
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
        ([b"he", b"ll"], "db/x ends after 4 bytes of the 5"),
        ([], "db/x ends after 0 bytes of the 5"),
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
