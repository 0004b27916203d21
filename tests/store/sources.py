"""Streams to store: whole ones, and ones that end badly."""

from __future__ import annotations

from igny8_backup.streams import Blocks


def in_blocks(data: bytes, size: int) -> Blocks:
    """The data in blocks of ``size`` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def failing(data: bytes, error: BaseException) -> Blocks:
    """The data, then the error."""
    yield from in_blocks(data, 700_000)
    raise error


def read(blocks: Blocks) -> bytes:
    """Everything a stream gives, in which no block may be empty."""
    pieces = list(blocks)
    assert all(pieces)
    return b"".join(pieces)
