"""A stream arrives whole, whatever is lost between two confirmations."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.store.objects import UnreachableError
from igny8_backup.store.pieces import crc_of, write_in_pieces
from igny8_backup.store.retry import Retry
from igny8_backup.streams import Blocks
from tests.store.sources import in_blocks

SIZE = 5


class Device:
    """Loses what was written and not confirmed whenever it fails."""

    def __init__(self, failures: list[bool]) -> None:
        self.content = b""
        self._failures = failures

    def write(self, offset: int, data: memoryview) -> None:
        assert offset == len(self.content)
        if self._failures and self._failures.pop():
            raise UnreachableError("It failed.")
        self.content += data


@given(
    blocks=st.lists(st.binary(min_size=1, max_size=12)),
    failures=st.lists(st.booleans(), max_size=8),
)
def test_stream_is_written_whole_whenever_the_device_fails(blocks: list[bytes], failures: list[bool]) -> None:
    device, failed = Device(list(failures)), False
    retry = Retry(60, first_pause=0)
    written = write_in_pieces(iter_blocks(blocks), device.write, retry, size=SIZE, with_crc=True)
    whole = b"".join(blocks)
    failed = device._failures != failures and any(failures[len(device._failures) :])
    assert device.content == whole
    assert (written.size, written.crc) == (len(whole), zlib.crc32(whole))
    assert written.interrupted == failed


def iter_blocks(blocks: list[bytes]) -> Blocks:
    yield from blocks


def test_empty_stream_is_written_as_one_piece() -> None:
    calls: list[int] = []
    written = write_in_pieces(iter_blocks([]), lambda offset, data: calls.append(len(data)), Retry())
    assert calls == [0] and written.size == 0 and not written.interrupted


def test_failure_without_patience_is_raised() -> None:
    with pytest.raises(UnreachableError):
        write_in_pieces(in_blocks(b"data", 2), Device([True]).write, Retry(0), size=SIZE)


def test_crc_of_a_stream_is_that_of_its_bytes() -> None:
    assert crc_of(in_blocks(b"some data", 2)) == zlib.crc32(b"some data")
