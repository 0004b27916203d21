"""Streams and files that are small enough to be sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import BinaryIO

from igny8_backup.streams import BLOCK, Blocks


def read_start(blocks: Blocks, size: int) -> list[bytes]:
    """Read blocks of a stream until they hold more than ``size`` bytes or the stream ends; return them."""
    start: list[bytes] = []
    while sum(map(len, start)) <= size and (block := next(blocks, b"")):
        start.append(block)
    return start


def joined(start: Iterable[bytes], rest: Blocks) -> Blocks:
    """Yield the blocks ``start``, then those of ``rest``."""
    yield from start
    yield from rest


def blocks_of(file: BinaryIO) -> Blocks:
    """Yield the content of an open file from its position on."""
    while block := file.read(BLOCK):
        yield block


def parts_of(blocks: Blocks, size: int) -> Iterator[bytes]:
    """Yield the stream in parts of ``size`` bytes; only the last may be shorter, none is empty."""
    part = bytearray()
    for block in blocks:
        rest = memoryview(block)
        while rest:
            piece = rest[: size - len(part)]
            part += piece
            rest = rest[len(piece) :]
            if len(part) == size:
                yield bytes(part)
                part.clear()
    if part:
        yield bytes(part)


def same_content(blocks: Blocks, file: BinaryIO) -> bool:
    """Return whether the stream has exactly the content of ``file``. Raises what ``blocks`` raises."""
    file.seek(0)
    with closing(blocks):
        if any(block != file.read(len(block)) for block in blocks):
            return False
    return not file.read(1)
