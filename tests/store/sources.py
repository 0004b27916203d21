"""Streams to store: complete ones, and ones that fail."""

from __future__ import annotations

from igny8_backup.streams import Blocks


def in_blocks(data: bytes, size: int) -> Blocks:
    """Yield the data in blocks of ``size`` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def failing(data: bytes, error: BaseException) -> Blocks:
    """Yield the data, then raise the error."""
    yield from in_blocks(data, 700_000)
    raise error


def read(blocks: Blocks) -> bytes:
    """Return all bytes of a stream, and assert that no block is empty."""
    pieces = list(blocks)
    assert all(pieces)
    return b"".join(pieces)
